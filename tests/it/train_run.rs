//! The folder of a run: what stands in its logs, who may write to it, and how it ends before its time.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize};
use serde_json::Value;

use crate::train::{TRAIN, folder};
use crate::util::{Folder, Ran, files, prep_command, repository};

/// The fields of a line, as TRAIN.md lists them.
const FIELDS: [&str; 8] = [
    "examples_per_sec",
    "gradient_norm",
    "learning_rate",
    "loss",
    "masked_pairs",
    "step",
    "tokens_per_sec",
    "wait_fraction",
];

pub fn metrics(folder: &Folder, run: &str) -> Vec<Value> {
    let lines = fs::read_to_string(folder.path(&format!("{run}/metrics.jsonl"))).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A file of `TensorBoard`, by what its formats say: `tensorboard/compat/proto/event.proto`, in `TFRecord`s.
mod event_file {
    /// Bit by bit: CRC-32C is that of the polynomial 0x1EDC6F41, reflected in and out, 0xFFFFFFFF before and after.
    fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for byte in bytes {
            for bit in 0..8 {
                let top = crc >> 31 ^ u32::from(byte >> bit & 1);
                crc = crc << 1 ^ if top == 1 { 0x1EDC_6F41 } else { 0 };
            }
        }
        !crc.reverse_bits()
    }

    fn masked(crc: u32) -> u32 {
        crc.rotate_right(15).wrapping_add(0xA282_EAD8)
    }

    /// The records: a length (u64le), its masked check sum (u32le), the bytes, their masked check sum.
    pub fn records(bytes: &[u8]) -> Vec<&[u8]> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let (mut rest, mut records) = (bytes, Vec::new());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(12);
            let (length, sum) = head.split_at(8);
            assert_eq!(number(sum), masked(crc32c(length)), "of the length");
            let (record, tail) =
                tail.split_at(usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap());
            let (sum, tail) = tail.split_at(4);
            assert_eq!(number(sum), masked(crc32c(record)), "of the record");
            records.push(record);
            rest = tail;
        }
        records
    }

    /// The value of a field, by the kinds that these messages have.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Field<'a> {
        Number(u64),
        Double(f64),
        Float(f32),
        Bytes(&'a [u8]),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }

    /// Number and value of each field of a message.
    pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let mut take = |n: usize| {
                let (taken, rest) = bytes.split_at(n);
                bytes = rest;
                taken
            };
            let field = match key & 7 {
                1 => Field::Double(f64::from_le_bytes(take(8).try_into().unwrap())),
                5 => Field::Float(f32::from_le_bytes(take(4).try_into().unwrap())),
                0 => Field::Number(varint(&mut bytes)),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    let (taken, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(taken)
                }
                kind => panic!("no field is of kind {kind}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }
}

/// The scalars of all event files of a run, by step and tag. What comes behind the start of a session at a step takes
/// the place of all that earlier files have from that step on, as TensorBoard reads it.
fn scalars(run: &Path) -> BTreeMap<(u64, String), f32> {
    use event_file::Field;

    let mut scalars: BTreeMap<(u64, String), f32> = BTreeMap::new();
    let names: Vec<String> = files(run).into_keys().filter(|name| name.contains("tfevents")).collect();
    assert!(!names.is_empty());
    for name in names {
        let bytes = fs::read(run.join(&name)).unwrap();
        let records = event_file::records(&bytes);
        let first = event_file::fields(records[0]);
        assert_eq!(first[1], (3, Field::Bytes(b"brain.Event:2")));
        for record in &records[1..] {
            let fields = event_file::fields(record);
            assert!(matches!(fields[0], (1, Field::Double(wall_time)) if 1.6e9 < wall_time));
            let (2, Field::Number(step)) = fields[1] else { panic!("{fields:?}") };
            match fields[2] {
                (7, Field::Bytes(session)) => {
                    assert_eq!(event_file::fields(session), [(1, Field::Number(1))]);
                    scalars.retain(|(of, _), _| *of < step);
                }
                (5, Field::Bytes(summary)) => {
                    for value in event_file::fields(summary) {
                        let (1, Field::Bytes(value)) = value else { panic!("{value:?}") };
                        let [(1, Field::Bytes(tag)), (2, Field::Float(number))] =
                            event_file::fields(value)[..]
                        else {
                            panic!("{value:?}")
                        };
                        let tag = String::from_utf8(tag.to_vec()).unwrap();
                        assert_eq!(scalars.insert((step, tag.clone()), number), None, "{tag} at {step}");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    scalars
}

/// Takes a run back to one of its checkpoints.
fn back_to(folder: &Folder, run: &str, steps: u64) {
    for name in files(&folder.path(&format!("{run}/checkpoints"))).into_keys() {
        let number = name.trim_start_matches("step-").trim_end_matches(".safetensors");
        if steps < number.parse().unwrap() {
            fs::remove_file(folder.path(&format!("{run}/checkpoints/{name}"))).unwrap();
        }
    }
    fs::remove_dir_all(folder.path(&format!("{run}/model"))).unwrap();
}

#[test]
fn logs_have_each_step_once_and_events_say_the_same() {
    let folder = folder();
    let train = format!("{TRAIN} --out run --set checkpoint.keep=9");
    // A run that died before its first checkpoint is begun anew.
    folder.prep(&train).done();
    for name in ["checkpoints", "model"] {
        fs::remove_dir_all(folder.path(&format!("run/{name}"))).unwrap();
    }
    folder.prep(&train).done();
    let whole = metrics(&folder, "run");
    // A crash behind the checkpoint of step 4, in the middle of a line.
    back_to(&folder, "run", 4);
    let path = folder.path("run/metrics.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&path, &lines[..lines.len() - 20]).unwrap();
    folder.prep(&format!("{train} --resume")).done();

    let page = fs::read_to_string(repository().join("schemas/TRAIN.md")).unwrap();
    for field in FIELDS {
        assert!(page.contains(&format!("\n| `{field}` | ")), "TRAIN.md does not explain `{field}`");
    }
    let lines = metrics(&folder, "run");
    assert_eq!(lines.len(), 8);
    let seen = scalars(&folder.path("run"));
    assert_eq!(seen.len(), 8 * (FIELDS.len() - 1));
    for (step, (line, before)) in lines.iter().zip(&whole).enumerate() {
        let fields: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(fields, FIELDS);
        assert_eq!(line["step"], step);
        for field in ["loss", "gradient_norm", "learning_rate", "masked_pairs"] {
            assert_eq!(line[field], before[field], "{field} of step {step}");
        }
        for field in FIELDS.iter().filter(|field| **field != "step") {
            let expected = line[*field].as_f64().unwrap() as f32;
            let found = seen[&(step as u64, format!("train/{field}"))];
            assert_eq!(found.to_bits(), expected.to_bits(), "{field} of step {step}");
        }
    }
}

#[test]
fn two_trainers_never_write_to_one_run() {
    let folder = folder();
    fs::create_dir(folder.path("run")).unwrap();
    let held = File::create(folder.path("run/run.lock")).unwrap();
    held.lock().unwrap();
    let train = format!("{TRAIN} --out run");
    let parts = ["run `run` is being trained by another process", "hint: wait until it ends"];
    folder.prep(&train).failed_with(&parts);
    assert_eq!(files(&folder.path("run")).len(), 1, "nothing was written");
    // The file that a process leaves behind locks nothing.
    drop(held);
    folder.prep(&train).done();
    let held = File::open(folder.path("run/run.lock")).unwrap();
    held.lock().unwrap();
    folder.prep(&format!("{train} --resume")).failed_with(&parts);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_a_checkpoint_and_goes_on_to_the_same_bytes() {
    let folder = folder();
    let train = "train d --init tiny --tokenizer tokenizer.json --steps 40";
    folder.prep(&format!("{train} --out whole --quiet")).done();
    let mut child = prep_command()
        .args(format!("{train} --out stopped").split(' '))
        .current_dir(folder.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.ends_with("prep: training\n") {
        assert_ne!(stderr.read_line(&mut told).unwrap(), 0, "{told}");
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    stderr.lines().for_each(|line| told.push_str(&(line.unwrap() + "\n")));
    let ran = Ran { stderr: told, ..Ran::of(child.wait_with_output().unwrap()) };
    let done = metrics(&folder, "stopped").len();
    assert!((1..40).contains(&done), "{done} steps");
    let ran = ran.failed_with(&[
        "prep: stopping after this step",
        &format!("error: interrupted after {done} steps of run `stopped`"),
        "hint: `--resume` goes on",
    ]);
    assert!(ran.stdout.contains(&format!("{done} (interrupted)")), "{}", ran.stdout);
    assert!(folder.path(&format!("stopped/checkpoints/step-{done:09}.safetensors")).is_file());
    assert!(!folder.path("stopped/model").exists());

    folder.prep(&format!("{train} --out stopped --quiet --resume")).done();
    let weights = |run: &str| files(&folder.path(&format!("{run}/model")));
    assert!(weights("whole") == weights("stopped"), "the models differ");
    assert_eq!(metrics(&folder, "stopped").len(), 40);
}

/// Writes model `to`: `from` with a NaN in the embedding of a token.
fn poison(folder: &Folder, from: &str, to: &str, token: usize) {
    let table = "embeddings.word_embeddings.weight";
    for (name, mut bytes) in files(&folder.path(from)) {
        if name == "model.safetensors" {
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let mut rows = tensors.tensor(table).unwrap().data().to_vec();
            let width = tensors.tensor(table).unwrap().shape()[1];
            rows[token * width * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
            let poisoned = tensors.tensors().into_iter().map(|(name, view)| {
                let data = if name == table { &rows } else { view.data() };
                let view = TensorView::new(view.dtype(), view.shape().to_vec(), data).unwrap();
                (name, view)
            });
            bytes = serialize(poisoned, None::<HashMap<String, String>>).unwrap();
        }
        folder.write(&format!("{to}/{name}"), bytes);
    }
}

#[test]
fn a_number_that_is_none_stops_the_run_and_names_step_and_rows() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --out first --quiet").done();
    let batch = folder.prep("reproduce d --step 0 --json").done().json();
    let rows = batch[0]["rows"].as_array().unwrap();
    let has = |text: &Value, word: &str| text.as_str().unwrap().split_whitespace().any(|w| w == word);
    // A word of the question in row 3, and where else it stands.
    let word = rows[3]["query"].as_str().unwrap().split_whitespace().next().unwrap();
    let with: Vec<String> = (0..rows.len())
        .filter(|&n| has(&rows[n]["query"], word) || has(&rows[n]["positive"], word))
        .map(|n| n.to_string())
        .collect();
    let negatives = rows.iter().flat_map(|row| row["negatives"].as_array().unwrap());
    let negatives = match negatives.filter(|text| has(text, word)).count() {
        0 => String::new(),
        n => format!(" and of {n} hard negatives"),
    };
    let tokenizer: Value = serde_json::from_slice(&fs::read(folder.path("tokenizer.json")).unwrap()).unwrap();
    let token = tokenizer["model"]["vocab"][word].as_u64().unwrap();
    poison(&folder, "first/model", "poisoned", usize::try_from(token).unwrap());
    folder.prep("train d --init poisoned --out run --quiet").failed_with(&[
        "error: the loss of step 0 is NaN",
        &format!("the vectors of rows {}{negatives} are not finite", with.join(", ")),
        "hint: `prep inspect d --step 0` shows the rows",
    ]);
    let shown = folder.prep("inspect d --step 0").done().stdout;
    assert!(shown.contains(rows[3]["query_id"].as_str().unwrap()), "{shown}");
}

#[test]
fn a_learning_rate_beyond_reason_stops_the_run() {
    let folder = folder();
    let ran = folder.prep(&format!("{TRAIN} --out run --lr 1e30"));
    let ran = ran.failed_with(&["hint: `prep inspect d --step ", "a lower learning rate"]);
    let step: usize = ran
        .stderr
        .split("of step ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{}", ran.stderr));
    // The first update has a rate of 0 (warm-up). What was done before is logged.
    assert!(2 <= step, "{}", ran.stderr);
    assert_eq!(metrics(&folder, "run").len(), step);
    folder.prep(&format!("inspect d --step {step}")).done();
}
