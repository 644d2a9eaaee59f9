//! How long work tells what it is at. The library never prints; whoever runs it watches through an [`Observer`].

/// Watches a long piece of work.
pub trait Observer: Sync {
    /// A stage begins; `total` is what [`Observer::advance`] will add up to, where that is known.
    fn begin(&self, stage: &str, total: Option<u64>);
    /// So much more of the stage is done.
    fn advance(&self, n: u64);
    /// What the work has to say of itself at this point, such as its loss.
    fn note(&self, _: &str) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
}
