//! Sources that lie elsewhere: which those are, and what their names stand for now.

use super::{CorpusSpec, Pipeline};
use crate::error::Result;
use crate::remote;

impl CorpusSpec {
    /// Whether a file of it lies elsewhere.
    pub(crate) fn is_remote(&self) -> bool {
        self.all_paths().iter().any(|path| remote::is_remote(path))
    }

    fn paths_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let files = self.files.iter_mut().flat_map(|files| {
            [&mut files.corpus, &mut files.queries]
                .into_iter()
                .chain(&mut files.qrels)
                .chain(&mut files.triples)
        });
        self.path.iter_mut().chain(self.paths.values_mut()).chain(files)
    }
}

impl Pipeline {
    /// Whether every corpus lies elsewhere, so that no data folder is needed.
    pub(crate) fn is_remote(&self) -> bool {
        self.corpora.iter().all(CorpusSpec::is_remote)
    }

    /// The same with the commit for each branch or tag of a hub, so that its manifest names what was read.
    ///
    /// # Errors
    /// [`Error::Hub`](crate::Error::Hub) where a hub knows no such dataset or revision.
    pub(crate) fn pinned(&self) -> Result<Self> {
        let mut pinned = self.clone();
        let lexicons = pinned.code_switch.iter_mut().flat_map(|spec| &mut spec.lexicons);
        let of_lexicons =
            lexicons.flat_map(|lexicon| lexicon.path.iter_mut().chain(lexicon.paths.values_mut()));
        for path in pinned.corpora.iter_mut().flat_map(CorpusSpec::paths_mut).chain(of_lexicons) {
            *path = remote::pinned(path)?;
        }
        Ok(pinned)
    }
}
