//! Parameters that a run leaves as they are, by the names of `transformers`.
//!
//! A frozen parameter is no part of the graph: it has no gradient and no moments, so it counts neither in the norm nor
//! in the check of the first step, and weight decay does not touch it. A name that matches nothing is an error, for a
//! run that trains what was meant to stay looks like any other.

use crate::error::{Error, Result};
use crate::model::{Declarations, Id};

const KEY: &str = "model.frozen";

/// Which parameters stay as they are.
#[derive(Clone, Debug)]
pub(super) struct Frozen(Vec<bool>);

impl Frozen {
    /// Finds the parameters of these names: each is a tensor's name, or the beginning of some, up to a dot.
    ///
    /// # Errors
    /// [`Error::Setting`] when a name matches nothing, when only a part of what is one parameter here is named, and when
    /// nothing is left to train.
    pub(super) fn find(names: &[String], parameters: &Declarations) -> Result<Self> {
        let tensors =
            || parameters.iter().flat_map(|(_, declared)| &declared.parts).map(|part| part.name.as_str());
        if let Some(name) = names.iter().find(|name| !tensors().any(|tensor| is_below(tensor, name))) {
            let found = format!("`{name}` names no parameter, and no beginning of one up to a dot");
            return Err(Error::setting(KEY, found).with_hint(near(name, &tensors().collect::<Vec<_>>())));
        }
        let frozen: Vec<bool> = parameters
            .iter()
            .map(|(_, declared)| {
                let parts = declared.parts.iter().map(|part| part.name.as_str());
                let (named, left): (Vec<_>, Vec<_>) =
                    parts.partition(|part| names.iter().any(|name| is_below(part, name)));
                if named.is_empty() || left.is_empty() {
                    return Ok(left.is_empty());
                }
                let [named, left] = [named, left].map(|names| names.join("`, `"));
                let found = format!("names `{named}` and not `{left}`; they are trained as one parameter");
                Err(Error::setting(KEY, found).with_hint("name all of them, or none"))
            })
            .collect::<Result<_>>()?;
        if frozen.iter().all(|&frozen| frozen) {
            return Err(Error::setting(KEY, "names every parameter, so nothing is left to train"));
        }
        Ok(Self(frozen))
    }

    /// None of so many parameters.
    #[cfg(test)]
    pub(super) fn none(n_parameters: usize) -> Self {
        Self(vec![false; n_parameters])
    }

    /// Numbers in them.
    pub(super) fn n_values(&self, parameters: &Declarations) -> usize {
        let frozen = parameters.iter().filter(|(id, _)| self.has(*id));
        frozen.map(|(_, declared)| declared.n_values()).sum()
    }

    pub(super) fn has(&self, parameter: Id) -> bool {
        *parameter.of(&self.0)
    }
}

/// Whether this is the name, or goes on behind it with a dot.
fn is_below(tensor: &str, name: &str) -> bool {
    tensor.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What could have been meant: the names that go on where the known beginning of this one ends.
fn near(name: &str, tensors: &[&str]) -> String {
    let mut known = name;
    while !known.is_empty() && !tensors.iter().any(|tensor| is_below(tensor, known)) {
        known = known.rfind('.').map_or("", |dot| &known[..dot]);
    }
    let mut there: Vec<String> = Vec::new();
    for tensor in tensors {
        let rest = match known {
            "" => Some(*tensor),
            known => tensor.strip_prefix(known).and_then(|rest| rest.strip_prefix('.')),
        };
        let Some(next) = rest.and_then(|rest| rest.split('.').next()) else { continue };
        let dot = if known.is_empty() { "" } else { "." };
        let found = format!("`{known}{dot}{next}`");
        if !there.contains(&found) {
            there.push(found);
        }
    }
    match there.as_slice() {
        [] => format!("`{known}` is a parameter itself"),
        _ => format!("there are {}", there.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Head, Network, Preset};

    fn frozen(names: &[&str]) -> Result<Vec<String>> {
        let network = Network::new(Preset::Tiny.architecture(40, 0), Head::default());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let frozen = Frozen::find(&names, network.parameters())?;
        let parameters = network.parameters().iter().filter(|(id, _)| frozen.has(*id));
        let parts = parameters.flat_map(|(_, declared)| &declared.parts);
        Ok(parts.map(|part| part.name.clone()).collect())
    }

    #[test]
    fn a_name_ends_at_a_dot() {
        assert_eq!(frozen(&[]).unwrap(), [""; 0]);
        let layer = frozen(&["encoder.layer.1"]).unwrap();
        assert!(layer.iter().all(|name| name.starts_with("encoder.layer.1.")), "{layer:?}");
        // Weight and bias of query, key, value, two outputs and what lies between them, and of two norms.
        assert_eq!(layer.len(), 16);
        assert_eq!(
            frozen(&["embeddings.LayerNorm", "embeddings.word_embeddings.weight"]).unwrap(),
            ["embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]
        );
        let e = frozen(&["encoder.lay"]).unwrap_err();
        assert_eq!(e.hint().unwrap(), "there are `encoder.layer`");
        assert_eq!(frozen(&["layer"]).unwrap_err().hint().unwrap(), "there are `embeddings`, `encoder`");
        let e = frozen(&["embeddings.LayerNorm.bias.x"]).unwrap_err();
        assert_eq!(e.hint().unwrap(), "`embeddings.LayerNorm.bias` is a parameter itself");
    }

    #[test]
    fn what_is_one_parameter_is_named_whole() {
        let projection = |name| format!("encoder.layer.0.attention.self.{name}.weight");
        let [query, key, value] = ["query", "key", "value"].map(projection);
        assert_eq!(frozen(&[&key, &query, &value]).unwrap(), [&*query, &*key, &*value]);
        let e = frozen(&[&key]).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!(
                "setting `model.frozen`: names `{key}` and not `{query}`, `{value}`; they are trained as one \
                 parameter"
            )
        );
        assert!(frozen(&["embeddings", "encoder"]).is_err());
    }
}
