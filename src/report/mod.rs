//! A report: one page about datasets, runs and evaluations, complete in itself.
//!
//! [`Report::read`] takes what the other commands wrote, whatever it is, and [`Report::page`] makes HTML with inline
//! SVG of it: no script, no font, no picture from elsewhere. The page is a function of the files and of the paths'
//! names: there is no clock in it. Every chart has its numbers beside or behind it, colour never says anything alone,
//! and every text from a file is escaped, which is the template's work and not the caller's.
//!
//! A report believes the files: `prep verify` checks a dataset, `prep eval` makes the numbers.

mod bars;
mod chart;
mod composition;
mod curve;
mod dataset;
mod evaluation;
mod examples;
mod heat;
mod lengths;
mod lines;
mod page;
mod results;
mod run;
mod scale;
mod training;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use self::dataset::DatasetReport;
use self::page::Section;
use self::results::Results;
use self::run::RunReport;
use crate::error::{Error, Result};
use crate::number::of;
use crate::progress::Observer;
use crate::staging::{Form, Kind, Staging};

const MANIFEST: &str = "manifest.json";

/// Everything that one page is about.
pub struct Report {
    datasets: Vec<Named<DatasetReport>>,
    runs: Vec<Named<RunReport>>,
    /// By benchmark: within one, numbers can be compared.
    evaluations: Vec<Vec<Named<Results>>>,
}

/// A part of a report, and what it is called there.
struct Named<T> {
    name: String,
    part: T,
}

impl Report {
    /// Reads dataset directories, folders of runs, and what `prep eval --json` printed, in any order.
    ///
    /// # Errors
    /// [`Error::Report`] for a path that is none of these; those of [`crate::shards::summary`]; [`Error::Io`].
    pub fn read(paths: &[PathBuf], observer: &dyn Observer) -> Result<Self> {
        let mut report = Self { datasets: Vec::new(), runs: Vec::new(), evaluations: Vec::new() };
        for (path, name) in paths.iter().zip(names(paths)) {
            if path.join(MANIFEST).is_file() {
                let part = DatasetReport::read(path, observer)?;
                report.datasets.push(Named { name, part });
            } else if path.join(run::METRICS).is_file() {
                report.runs.push(Named { name, part: RunReport::read(path)? });
            } else if path.is_dir() {
                return Err(unknown_folder(path));
            } else {
                report.add_evaluation(Named { name, part: Results::read(path)? });
            }
        }
        Ok(report)
    }

    #[must_use]
    pub fn n_datasets(&self) -> usize {
        self.datasets.len()
    }

    #[must_use]
    pub fn n_runs(&self) -> usize {
        self.runs.len()
    }

    #[must_use]
    pub fn n_evaluations(&self) -> usize {
        self.evaluations.iter().map(Vec::len).sum()
    }

    /// The page: HTML, whole.
    #[must_use]
    pub fn page(&self) -> String {
        let mut sections = Vec::new();
        for (n, Named { name, part }) in self.datasets.iter().enumerate() {
            let (id, heading) = (format!("dataset-{}", n + 1), format!("Dataset {name}"));
            sections.push(Section { id, heading, body: part.body() });
        }
        if !self.runs.is_empty() {
            let (id, heading) = ("training".to_owned(), "Training".to_owned());
            sections.push(Section { id, heading, body: training::body(&self.runs) });
        }
        for (n, evaluations) in self.evaluations.iter().enumerate() {
            let heading = match self.evaluations.len() {
                1 => "Evaluation".to_owned(),
                _ => format!("Evaluation, benchmark {}", n + 1),
            };
            let dataset =
                self.datasets.iter().find(|dataset| dataset.part.id() == evaluations[0].part.dataset_id);
            let body = evaluation::body(evaluations, dataset.map(|dataset| dataset.name.as_str()));
            sections.push(Section { id: format!("evaluation-{}", n + 1), heading, body });
        }
        page::page(&self.title(), &self.lead(), &sections)
    }

    /// Writes the page under this name, whole or not at all, in the place of a file that is there; returns its bytes.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Dataset`] where something else than a file is there.
    pub fn write(&self, out: &Path) -> Result<u64> {
        let staging = Staging::open(Kind { noun: "report", form: Form::File }, out, true)?;
        let name = out.file_name().expect("a staging area has a name");
        let page = self.page();
        staging.write(name, page.as_bytes())?;
        staging.commit()?;
        Ok(page.len() as u64)
    }

    fn add_evaluation(&mut self, evaluation: Named<Results>) {
        let benchmark = &evaluation.part.benchmark;
        match self.evaluations.iter_mut().find(|known| known[0].part.benchmark == *benchmark) {
            Some(known) => known.push(evaluation),
            None => self.evaluations.push(vec![evaluation]),
        }
    }

    /// The first names of what is largest: datasets, else runs, else evaluations.
    fn title(&self) -> String {
        let datasets: Vec<&str> = self.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
        let runs = self.runs.iter().map(|run| run.name.as_str()).collect();
        let evaluations = self.evaluations.iter().flatten().map(|e| e.name.as_str()).collect();
        let names =
            [datasets, runs, evaluations].into_iter().find(|names| !names.is_empty()).unwrap_or_default();
        match names.as_slice() {
            [] => "Nothing".to_owned(),
            [name] => (*name).to_owned(),
            [names @ .., last] if names.len() < 3 => format!("{} and {last}", names.join(", ")),
            [first, second, others @ ..] => format!("{first}, {second} and {} others", others.len()),
        }
    }

    fn lead(&self) -> String {
        let counts = [
            (self.n_datasets(), "dataset", "datasets"),
            (self.n_runs(), "run", "runs"),
            (self.n_evaluations(), "evaluation", "evaluations"),
        ];
        let counts = counts.into_iter().filter(|(n, ..)| *n != 0);
        counts.map(|(n, one, many)| of(n as u64, one, many)).collect::<Vec<_>>().join(", ")
    }
}

/// What paths are called: as many of their last parts as tell each from the others, without `.json`.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let ends = |n: usize| -> Vec<String> {
        parts.iter().map(|parts| parts[parts.len().saturating_sub(n)..].join("/")).collect()
    };
    let distinct: BTreeSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let tells_apart = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == distinct.len();
    (1..longest).map(ends).find(|names| tells_apart(names)).unwrap_or_else(|| ends(longest))
}

fn parts(path: &Path) -> Vec<String> {
    let path = match path.extension() {
        Some(extension) if extension == "json" => path.with_extension(""),
        _ => path.to_owned(),
    };
    let parts = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    let parts: Vec<String> = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.is_empty() { vec![path.display().to_string()] } else { parts }
}

fn unknown_folder(path: &Path) -> Error {
    let found = "is neither a dataset (it has no manifest.json) nor a run (it has no metrics.jsonl)";
    let above =
        path.parent().filter(|above| above.join(MANIFEST).is_file() || above.join(run::METRICS).is_file());
    Error::report(path, found).with_hint(match above {
        Some(above) => format!("name `{}`", above.display()),
        None if path.join(run::SETTINGS).is_file() => "this run has taken no step yet".to_owned(),
        None => results::WANTED.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_called_by_what_tells_them_apart() {
        let named = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>()).join(" ");
        assert_eq!(named(&["out/run", "out/e.json", "/x/demo/"]), "run e demo");
        assert_eq!(named(&["a/run", "b/run", "demo"]), "a/run b/run demo");
        assert_eq!(named(&["x/a/run", "y/a/run"]), "x/a/run y/a/run");
        assert_eq!(named(&["run", "run"]), "run run");
        assert_eq!(named(&[".", ".."]), ". ..");
    }
}
