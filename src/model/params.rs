//! Parameters: what an encoder can learn, what its tensors are called in files, and how they begin.
//!
//! A parameter here may be several tensors of a file, one below the other: query, key and value projections are one
//! matrix, so that they are one product; a bias, a norm's gain and its shift are three rows, so that they are one
//! fused op. Files keep the names and shapes that `transformers` expects.

use candle_core::{DType, Device, Tensor};

use crate::digest::Digest;
use crate::error::Result;
use crate::kernels::{Node, Tape};
use crate::keys::{mix64, subkey};

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) start: Start,
}

/// How a tensor begins when there is no file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Start {
    Zeros,
    Ones,
    /// Nearly normal, with this standard deviation.
    Normal(f64),
}

/// A parameter: its parts one below the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) parts: Vec<Part>,
    pub(crate) shape: Vec<usize>,
}

/// Number of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(usize);

impl Id {
    /// What a list that goes along with the parameters has for this one.
    pub(crate) fn of<T>(self, list: &[T]) -> &T {
        &list[self.0]
    }
}

/// The parameters of an encoder, in the order in which it uses them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarations(Vec<Declared>);

impl Declarations {
    /// A matrix, or a table of embeddings.
    pub(super) fn matrix(&mut self, name: &str, shape: [usize; 2], start: Start) -> Id {
        self.stacked(&[name], shape, start)
    }

    /// Matrices of equal shape, one below the other.
    pub(super) fn stacked(&mut self, names: &[&str], [rows, columns]: [usize; 2], start: Start) -> Id {
        let part = |name: &&str| Part { name: (*name).to_owned(), shape: vec![rows, columns], start };
        self.push(names.iter().map(part).collect(), vec![names.len() * rows, columns])
    }

    /// Vectors of equal length, one after another.
    pub(super) fn joined(&mut self, names: &[&str], length: usize, start: Start) -> Id {
        let part = |name: &&str| Part { name: (*name).to_owned(), shape: vec![length], start };
        self.push(names.iter().map(part).collect(), vec![names.len() * length])
    }

    /// Vectors of equal length as the rows of a matrix.
    pub(super) fn rows(&mut self, rows: &[(&str, Start)], length: usize) -> Id {
        let part = |(name, start): &(&str, Start)| Part {
            name: (*name).to_owned(),
            shape: vec![length],
            start: *start,
        };
        self.push(rows.iter().map(part).collect(), vec![rows.len(), length])
    }

    fn push(&mut self, parts: Vec<Part>, shape: Vec<usize>) -> Id {
        self.0.push(Declared { parts, shape });
        Id(self.0.len() - 1)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Id, &Declared)> {
        self.0.iter().enumerate().map(|(n, declared)| (Id(n), declared))
    }
}

impl Declared {
    /// The name that messages use: that of the first part.
    pub(crate) fn name(&self) -> &str {
        &self.parts[0].name
    }

    /// Numbers in all parts.
    pub(crate) fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether weight decay applies: to matrices and tables, not to biases and norms.
    pub(crate) fn decays(&self) -> bool {
        self.parts[0].shape.len() == 2
    }

    /// Where it begins. A function of seed and names, not of the order of parameters.
    pub(super) fn start(&self, seed: u64) -> Result<Tensor> {
        let mut values = Vec::with_capacity(self.n_values());
        for part in &self.parts {
            let n: usize = part.shape.iter().product();
            match part.start {
                Start::Zeros => values.resize(values.len() + n, 0.0),
                Start::Ones => values.resize(values.len() + n, 1.0),
                Start::Normal(deviation) => {
                    let key = subkey(seed, "init", &part.name, 0);
                    values.extend((0..n as u64).map(|i| (deviation * nearly_normal(key, i)) as f32));
                }
            }
        }
        Ok(Tensor::from_vec(values, self.shape.as_slice(), &Device::Cpu)?)
    }

    /// The tensors of a file, in the order of the parts.
    pub(crate) fn split(&self, value: &Tensor) -> Result<Vec<Tensor>> {
        let rows = value.dim(0)? / self.parts.len();
        let cut = |(n, part): (usize, &Part)| {
            Ok(value.narrow(0, n * rows, rows)?.reshape(part.shape.as_slice())?.contiguous()?)
        };
        self.parts.iter().enumerate().map(cut).collect()
    }

    /// The reverse of [`Self::split`].
    pub(super) fn join(&self, parts: &[Tensor]) -> Result<Tensor> {
        let flat = parts.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&flat, 0)?.reshape(self.shape.as_slice())?)
    }
}

/// Draw i of a distribution with mean 0 and deviation 1: the sum of twelve uniform numbers of 16 bits. No logarithm and
/// no cosine, so the same on every machine; never beyond 6.
fn nearly_normal(key: u64, i: u64) -> f64 {
    let sum: u64 = (0..3)
        .map(|n| mix64(key.wrapping_add((3 * i + n).wrapping_mul(0x9E37_79B9_7F4A_7C15))))
        .map(|bits| (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48))
        .sum();
    // Each 16-bit number stands for the middle of its interval.
    (sum as f64 + 6.0) / 65_536.0 - 6.0
}

/// Values of the parameters, or nodes with these values.
#[derive(Clone, Debug)]
pub(crate) struct Weights<V = Tensor>(Vec<V>);

impl<V> Weights<V> {
    pub(crate) fn new(values: Vec<V>) -> Self {
        Self(values)
    }

    pub(crate) fn get(&self, id: Id) -> &V {
        &self.0[id.0]
    }

    pub(crate) fn as_slice(&self) -> &[V] {
        &self.0
    }
}

impl Weights {
    /// To compute with, without gradients.
    pub(crate) fn constant(&self) -> Weights<Node> {
        Weights(self.0.iter().cloned().map(Node::constant).collect())
    }

    /// To compute with, for gradients of those that `are_traced`.
    pub(crate) fn on(&self, tape: &Tape, are_traced: impl Fn(Id) -> bool) -> Weights<Node> {
        let nodes = self.0.iter().cloned().enumerate();
        let node = |(n, value)| if are_traced(Id(n)) { tape.leaf(value) } else { Node::constant(value) };
        Weights(nodes.map(node).collect())
    }

    pub(super) fn set(&mut self, id: Id, value: Tensor) {
        self.0[id.0] = value;
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.0.iter()
    }

    /// Of all values, in order.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let mut digests = Vec::new();
        for value in &self.0 {
            let values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            digests.extend_from_slice(Digest::of(&bytes).as_bytes());
        }
        Ok(Digest::of(&digests))
    }

    /// The same values on a device.
    pub(crate) fn on_device(&self, device: &Device) -> Result<Self> {
        Ok(Self(self.0.iter().map(|value| moved(value, device)).collect::<candle_core::Result<_>>()?))
    }

    /// The same values in numbers of this type.
    pub(crate) fn in_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self(self.0.iter().map(|value| value.to_dtype(dtype)).collect::<candle_core::Result<_>>()?))
    }
}

/// A tensor on a device. Candle moves all the memory that a view is of, which for a parameter of a GPU is all parameters
/// with their moments, so elsewhere it is a copy that moves.
pub(crate) fn moved(value: &Tensor, device: &Device) -> candle_core::Result<Tensor> {
    match value.device().same_device(device) {
        true => Ok(value.clone()),
        false => value.force_contiguous()?.to_device(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_mean_zero_and_deviation_one() {
        let draws: Vec<f64> = (0..100_000).map(|i| nearly_normal(7, i)).collect();
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let deviation = (draws.iter().map(|x| x * x).sum::<f64>() / n - mean * mean).sqrt();
        // Four standard errors: 4 / sqrt(n), and 4 / sqrt(2 n).
        assert!(mean.abs() < 0.0127, "{mean}");
        assert!((deviation - 1.0).abs() < 0.009, "{deviation}");
    }

    #[test]
    fn parts_lie_one_below_the_other() {
        let mut declarations = Declarations::default();
        declarations.stacked(&["q", "k"], [2, 3], Start::Normal(1.0));
        declarations.rows(&[("bias", Start::Zeros), ("gain", Start::Ones)], 3);
        let all: Vec<&Declared> = declarations.iter().map(|(_, declared)| declared).collect();
        let (matrix, rows) = (all[0], all[1]);
        assert!(matrix.decays() && !rows.decays());
        assert_eq!(rows.start(1).unwrap().to_vec2::<f32>().unwrap(), [[0.0; 3], [1.0; 3]]);
        let start = matrix.start(1).unwrap();
        let parts = matrix.split(&start).unwrap();
        assert_eq!(parts[1].to_vec2::<f32>().unwrap(), start.to_vec2::<f32>().unwrap()[2..]);
        assert_eq!(matrix.join(&parts).unwrap().to_vec2::<f32>().unwrap(), start.to_vec2::<f32>().unwrap());
        assert_ne!(start.to_vec2::<f32>().unwrap(), matrix.start(2).unwrap().to_vec2::<f32>().unwrap());
    }
}
