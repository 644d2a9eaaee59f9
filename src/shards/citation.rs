//! How to cite a dataset: a CITATION.cff of the Citation File Format 1.2.0, with the corpora that its texts come from and
//! the paper whose batches they are.

use super::card::{corpora, yaml};
use super::manifest::Manifest;

const PAPER: &str = "\
- type: article
  title: \"Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual Information Retrieval\"
  authors:
  - family-names: Elmahdy
    given-names: Adel
  - family-names: Lin
    given-names: Sheng-Chieh
  - family-names: Ahmad
    given-names: Amin
  year: 2024
  url: \"https://arxiv.org/abs/2408.10536\"
";

/// The citation of the dataset that the manifest describes. The format asks for authors; those of the texts are named
/// by their corpus.
pub(super) fn citation(manifest: &Manifest) -> String {
    let name = manifest.pipeline["name"].as_str().unwrap_or("dataset");
    let corpora = corpora(&manifest.pipeline);
    let mut text = format!(
        "cff-version: 1.2.0\n\
         message: \"Cite this dataset by its id, and the corpora that its texts come from.\"\n\
         type: dataset\n\
         title: {}\n\
         abstract: {}\n\
         identifiers:\n- type: other\n  value: {}\n  description: \"dataset id: digest of plan, batches and corpus\"\n\
         authors:\n",
        yaml(name),
        yaml(&format!(
            "Batches for contrastive training of multilingual retrieval, made with prep {}.",
            manifest.prep_version
        )),
        yaml(&manifest.dataset_id.to_string()),
    );
    for corpus in &corpora {
        text.push_str(&format!("- name: {}\n", yaml(&format!("The authors of {}", corpus.name))));
    }
    text.push_str("references:\n");
    for corpus in &corpora {
        let stated = |what: &str, text: Option<&str>| text.map(|text| format!("{what}: {text}"));
        let notes = [
            stated("Source", corpus.source),
            stated("Licence", corpus.licence),
            stated("Citation", corpus.citation),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        text.push_str(&format!(
            "- type: data\n  title: {}\n  authors:\n  - name: {}\n",
            yaml(corpus.name),
            yaml(&format!("The authors of {}", corpus.name)),
        ));
        if !notes.is_empty() {
            text.push_str(&format!("  notes: {}\n", yaml(&notes.join("; "))));
        }
    }
    text.push_str(PAPER);
    text
}
