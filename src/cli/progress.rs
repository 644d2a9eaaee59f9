//! Progress on stderr: a bar where it is a terminal, plain lines now and then where it is not.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use prep::progress::Observer;

/// Between two plain lines of one stage.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

pub(super) enum Progress {
    Quiet,
    Bar(Mutex<ProgressBar>),
    Plain(Mutex<Plain>),
}

pub(super) struct Plain {
    stage: String,
    total: Option<u64>,
    done: u64,
    note: String,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if io::stderr().is_terminal() {
            Self::Bar(Mutex::new(ProgressBar::hidden()))
        } else {
            Self::Plain(Mutex::new(Plain::new("", None)))
        }
    }
}

impl Observer for Progress {
    fn begin(&self, stage: &str, total: Option<u64>) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => {
                let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
                bar.finish_and_clear();
                let (new, template) = match total {
                    Some(total) => (
                        ProgressBar::new(total),
                        "{msg:>22} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
                    ),
                    None => (ProgressBar::new_spinner(), "{msg:>22} {spinner} {elapsed}"),
                };
                new.set_style(
                    ProgressStyle::with_template(template).expect("a template of indicatif's fields"),
                );
                new.set_message(stage.to_owned());
                new.enable_steady_tick(Duration::from_millis(100));
                *bar = new;
            }
            Self::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                *plain = Plain::new(stage, total);
                super::complain(&format!("prep: {stage}"));
            }
        }
    }

    fn advance(&self, n: u64) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => bar.lock().unwrap_or_else(PoisonError::into_inner).inc(n),
            Self::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                plain.done += n;
                if PLAIN_EVERY <= plain.last_line.elapsed() {
                    plain.last_line = Instant::now();
                    let of = plain.total.map(|total| format!(" of {total}")).unwrap_or_default();
                    super::complain(&format!("prep: {}: {}{of}{}", plain.stage, plain.done, plain.note));
                }
            }
        }
    }

    fn note(&self, text: &str) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => bar.lock().unwrap_or_else(PoisonError::into_inner).set_message(text.to_owned()),
            Self::Plain(plain) => {
                plain.lock().unwrap_or_else(PoisonError::into_inner).note = format!("  {text}");
            }
        }
    }
}

impl Plain {
    fn new(stage: &str, total: Option<u64>) -> Self {
        Self { stage: stage.to_owned(), total, done: 0, note: String::new(), last_line: Instant::now() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.get_mut().unwrap_or_else(PoisonError::into_inner).finish_and_clear();
        }
    }
}
