//! `embedding`: rows of a table, and `token_embeddings`: the sum of three of them that a BERT begins with.
//!
//! The gradient of a table is dense, so give a small one: the rows that a step touches, with numbers of their own.
//! Each row of it is summed in the order of the tokens, by one thread; on a GPU, in runs of tokens whose sums are added up
//! in their order.

use std::sync::Arc;

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};

use super::check::{alike, matrix};
use super::gpu::{Dims, Gpu, Kernel, Memory, View, WARP, args};
use super::lanes::add;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::{Places, for_rows};
use super::tape::Operand;

/// The `.cu` file.
const FILE: &str = "embedding";
const EMBEDDING: &str = "embedding";
const TOKEN_EMBEDDINGS: &str = "token_embeddings";

/// table: (V, D), ids: T numbers below V -> (T, D).
///
/// # Errors
/// When an id is not below V, or the table is not a contiguous matrix of floats.
pub fn embedding<V: Operand>(table: &V, ids: Arc<[u32]>) -> Result<V> {
    let (n_rows, _) = matrix(EMBEDDING, "table", table.tensor())?;
    check_ids(EMBEDDING, "id", &ids, n_rows)?;
    table.apply1(Fused(Embedding { ids }))
}

/// The tokens of a batch as a BERT sees them.
#[derive(Clone, Debug)]
pub struct TokenIds {
    /// T rows of the word table.
    pub words: Arc<[u32]>,
    /// T rows of the table of positions.
    pub positions: Arc<[u32]>,
}

/// words: (V, D), positions: (P, D), types: (any number of rows, D) -> (T, D): the rows of each token's word and
/// position, and row 0 of the types, since a text that is embedded is a single sequence. Added as `(word + type) +
/// position`, the order of Hugging Face's models.
///
/// # Errors
/// When an id is not below V, a position not below P, there are more of the one than of the other, or tensors do not fit.
pub fn token_embeddings<V: Operand>(words: &V, positions: &V, types: &V, ids: &TokenIds) -> Result<V> {
    let tables = [words, positions, types].map(Operand::tensor);
    let (n_words, width) = matrix(TOKEN_EMBEDDINGS, "words", tables[0])?;
    let (n_positions, _) = matrix(TOKEN_EMBEDDINGS, "positions", tables[1])?;
    let (n_types, _) = matrix(TOKEN_EMBEDDINGS, "types", tables[2])?;
    for (name, table) in [("positions", tables[1]), ("types", tables[2])] {
        if table.dims()[1] != width {
            bail!("{TOKEN_EMBEDDINGS}: `words` has {width} columns and `{name}` has {}", table.dims()[1]);
        }
    }
    alike(TOKEN_EMBEDDINGS, ("words", tables[0]), &[("positions", tables[1]), ("types", tables[2])])?;
    if ids.words.len() != ids.positions.len() {
        bail!("{TOKEN_EMBEDDINGS}: {} ids and {} positions", ids.words.len(), ids.positions.len());
    }
    if n_types == 0 {
        bail!("{TOKEN_EMBEDDINGS}: `types` has no rows");
    }
    check_ids(TOKEN_EMBEDDINGS, "id", &ids.words, n_words)?;
    check_ids(TOKEN_EMBEDDINGS, "position", &ids.positions, n_positions)?;
    let op = TokenEmbeddings { words: ids.words.clone(), positions: ids.positions.clone() };
    words.apply3(positions, types, Fused(op))
}

fn check_ids(op: &str, what: &str, ids: &[u32], n_rows: usize) -> Result<()> {
    match ids.iter().position(|&id| n_rows <= id as usize) {
        Some(t) => bail!("{op}: token {t} has {what} {}, and the table {n_rows} rows", ids[t]),
        None => Ok(()),
    }
}

struct Embedding {
    ids: Arc<[u32]>,
}

impl Op<1> for Embedding {
    const NAME: &'static str = EMBEDDING;

    fn cpu<T: Real>(&self, [table]: [Input<'_, T>; 1]) -> Result<[(Vec<T>, Shape); 1]> {
        let width = table.dims[1];
        let mut y = vec![T::zero(); self.ids.len() * width];
        for_rows(&mut y, width, |t, y| {
            y.copy_from_slice(&table.data[self.ids[t] as usize * width..][..width]);
        });
        Ok([(y, (self.ids.len(), width).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [table]: [View<'_>; 1]) -> Result<[(Memory, Shape); 1]> {
        let ((_, width), n_tokens) = (table.matrix(), self.ids.len());
        let ids = gpu.upload(CpuStorage::U32(self.ids.to_vec()))?;
        let y = gpu.allocate(table.dtype, n_tokens * width)?;
        let kernel = Kernel::new(FILE, EMBEDDING, table.dtype)?;
        gpu.launch(&kernel, Dims::warp_each(n_tokens), &args![table, ids, y, n_tokens, width])?;
        Ok([(y, (n_tokens, width).into())])
    }
}

impl Differentiable<1> for Embedding {
    fn gradients(&self, [table]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(sum_by_id(dy, &self.ids, table.dim(0)?)?)])
    }
}

struct TokenEmbeddings {
    words: Arc<[u32]>,
    positions: Arc<[u32]>,
}

impl Op<3> for TokenEmbeddings {
    const NAME: &'static str = TOKEN_EMBEDDINGS;

    fn cpu<T: Real>(&self, [words, positions, types]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 1]> {
        let width = words.dims[1];
        let kind = &types.data[..width];
        let mut y = vec![T::zero(); self.words.len() * width];
        for_rows(
            &mut y,
            width,
            #[inline(always)]
            |t, y| {
                let word = &words.data[self.words[t] as usize * width..][..width];
                let position = &positions.data[self.positions[t] as usize * width..][..width];
                for (((y, &word), &kind), &position) in y.iter_mut().zip(word).zip(kind).zip(position) {
                    *y = word + kind + position;
                }
            },
        );
        Ok([(y, (self.words.len(), width).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [words, positions, types]: [View<'_>; 3]) -> Result<[(Memory, Shape); 1]> {
        let ((_, width), n_tokens) = (words.matrix(), self.words.len());
        let ids = gpu.upload(CpuStorage::U32(self.words.to_vec()))?;
        let positions_of = gpu.upload(CpuStorage::U32(self.positions.to_vec()))?;
        let y = gpu.allocate(words.dtype, n_tokens * width)?;
        let kernel = Kernel::new(FILE, TOKEN_EMBEDDINGS, words.dtype)?;
        let args = args![words, positions, types, ids, positions_of, y, n_tokens, width];
        gpu.launch(&kernel, Dims::warp_each(n_tokens), &args)?;
        Ok([(y, (n_tokens, width).into())])
    }
}

impl Differentiable<3> for TokenEmbeddings {
    fn gradients(
        &self,
        [words, positions, types]: [&Tensor; 3],
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let kinds: Arc<[u32]> = vec![0; self.words.len()].into();
        Ok([
            Some(sum_by_id(dy, &self.words, words.dim(0)?)?),
            Some(sum_by_id(dy, &self.positions, positions.dim(0)?)?),
            Some(sum_by_id(dy, &kinds, types.dim(0)?)?),
        ])
    }
}

/// dy: (T, D) -> (`n_rows`, D), row v being the sum of the rows t with `ids[t] == v`, in ascending t.
fn sum_by_id(dy: &Tensor, ids: &Arc<[u32]>, n_rows: usize) -> Result<Tensor> {
    let [sums] = evaluate(&SumById { ids: ids.clone(), n_rows }, [dy])?;
    Ok(sums)
}

struct SumById {
    ids: Arc<[u32]>,
    n_rows: usize,
}

impl Op<1> for SumById {
    const NAME: &'static str = "embedding_gradient";

    fn cpu<T: Real>(&self, [dy]: [Input<'_, T>; 1]) -> Result<[(Vec<T>, Shape); 1]> {
        let width = dy.dims[1];
        let places = Places::new(&self.ids, self.n_rows);
        let mut sums = vec![T::zero(); self.n_rows * width];
        for_rows(
            &mut sums,
            width,
            #[inline(always)]
            |id, sum| {
                for &t in places.of(id) {
                    add(sum, &dy.data[t as usize * width..][..width]);
                }
            },
        );
        Ok([(sums, (self.n_rows, width).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [dy]: [View<'_>; 1]) -> Result<[(Memory, Shape); 1]> {
        let (_, width) = dy.matrix();
        let y = gpu.allocate(DType::F32, self.n_rows * width)?;
        let (mut from, mut dtype) = (None::<Memory>, dy.dtype);
        for round in rounds(&self.ids, self.n_rows) {
            let n_runs = round.to.len();
            // Memory of no bytes is not to be had.
            let parts = gpu.allocate(DType::F32, round.n_parts.max(1) * width)?;
            let rows = gpu.upload(CpuStorage::U32(round.rows))?;
            let starts = gpu.upload(CpuStorage::U32(round.starts))?;
            let to = gpu.upload(CpuStorage::U32(round.to))?;
            let x = from.as_ref().map_or(dy.address, |parts| parts.address);
            let args = args![x, rows, starts, to, y, parts, n_runs, self.n_rows, width];
            // A warp has 16 bytes a lane of a row.
            let tiles = width.div_ceil(WARP * 16 / dtype.size_in_bytes());
            let dims = Dims { grid: [n_runs.div_ceil(8), tiles, 1], ..Dims::warp_each(n_runs) };
            gpu.launch(&Kernel::new(FILE, "sum_rows", dtype)?, dims, &args)?;
            (from, dtype) = (Some(parts), DType::F32);
        }
        Ok([(y, (self.n_rows, width).into())])
    }
}

/// Runs of rows to add up: of run k `rows[starts[k]..starts[k + 1]]`, into row `to[k]`; destinations from the number of
/// rows on are parts, which the next round adds up.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    rows: Vec<u32>,
    starts: Vec<u32>,
    to: Vec<u32>,
    n_parts: usize,
}

/// Rows of a run. One warp reads them one after another, so a longer row of the table is cut.
const RUN_ROWS: usize = 64;

/// Every row of the table is the destination of one run, perhaps an empty one.
fn rounds(ids: &[u32], n_rows: usize) -> Vec<Round> {
    let mut rounds = Vec::new();
    let (mut numbers, mut known): (Vec<u32>, Vec<u32>) = (ids.to_vec(), (0..n_rows as u32).collect());
    loop {
        let places = Places::new(&numbers, n_rows);
        let mut round = Round { rows: Vec::new(), starts: vec![0], to: Vec::new(), n_parts: 0 };
        numbers.clear();
        let mut left = Vec::new();
        for &id in &known {
            let rows = places.of(id as usize);
            if rows.len() <= RUN_ROWS {
                round.push(rows, id);
                continue;
            }
            left.push(id);
            for run in rows.chunks(RUN_ROWS) {
                round.push(run, (n_rows + round.n_parts) as u32);
                round.n_parts += 1;
                numbers.push(id);
            }
        }
        rounds.push(round);
        known = left;
        if known.is_empty() {
            return rounds;
        }
    }
}

impl Round {
    fn push(&mut self, rows: &[u32], to: u32) {
        self.rows.extend_from_slice(rows);
        self.starts.push(self.rows.len() as u32);
        self.to.push(to);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{
        assert_close, check_gpu, check_gradients, one_to_three_threads, tensor, values,
    };
    use super::*;

    fn ids() -> TokenIds {
        TokenIds { words: vec![4, 0, 4, 1].into(), positions: vec![2, 3, 4, 2].into() }
    }

    #[test]
    fn rows_are_those_of_the_ids() {
        let table = tensor((5, 3), 1);
        let expected = table.index_select(&Tensor::new(&[4_u32, 0, 4, 1], &Device::Cpu).unwrap(), 0).unwrap();
        assert_close(&embedding(&table, ids().words).unwrap(), &expected, 0.0);
    }

    #[test]
    fn words_positions_and_the_first_type_are_added() {
        let (words, positions, types) = (tensor((5, 3), 1), tensor((6, 3), 2), tensor((2, 3), 3));
        let rows = |table: &Tensor, ids: &[u32]| {
            table.index_select(&Tensor::new(ids, &Device::Cpu).unwrap(), 0).unwrap()
        };
        let expected = ((rows(&words, &[4, 0, 4, 1]) + rows(&types, &[0, 0, 0, 0])).unwrap()
            + rows(&positions, &[2, 3, 4, 2]))
        .unwrap();
        let found = token_embeddings(&words, &positions, &types, &ids()).unwrap();
        assert_eq!(values(&found), values(&expected));
    }

    #[test]
    fn gradients_are_finite_differences() {
        check_gradients(|i| embedding(&i[0], ids().words), &[tensor((5, 3), 1)], 1e-8);
        let inputs = [tensor((5, 3), 1), tensor((6, 3), 2), tensor((2, 3), 3)];
        check_gradients(|i| token_embeddings(&i[0], &i[1], &i[2], &ids()), &inputs, 1e-8);
    }

    #[test]
    fn threads_do_not_show() {
        let ids: Arc<[u32]> = (0..3000_u32).map(|t| t * t % 521).collect();
        one_to_three_threads(&[tensor((521, 65), 1)], |i| embedding(&i[0], ids.clone()));
    }

    /// Row 0 is chosen by all but a few tokens, so that its sum takes three rounds; row 2 by none.
    #[test]
    fn rounds_add_up_every_token_once() {
        let ids: Vec<u32> =
            (0..64 * 64 + 5).map(|t| if t % 1000 == 7 { 1 + 2 * (t / 1000 % 2) } else { 0 }).collect();
        let rounds = rounds(&ids, 4);
        assert_eq!(rounds.iter().map(|round| round.n_parts).collect::<Vec<_>>(), [64, 0]);
        let n_runs: Vec<_> = rounds.iter().map(|round| round.to.len()).collect();
        assert_eq!(n_runs, [64 + 3, 1]);
        assert_eq!(rounds[1].rows, (0..64).collect::<Vec<u32>>());
        assert_eq!(rounds[0].rows.len(), ids.len());
        let empty = super::rounds(&[], 2);
        assert_eq!(empty, [Round { rows: vec![], starts: vec![0, 0, 0], to: vec![0, 1], n_parts: 0 }]);
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for (n_rows, n_tokens, width) in [(1, 1, 1), (5, 31, 33), (521, 300, 32), (7, 67, 768), (3, 4200, 8)]
        {
            let ids: Arc<[u32]> = (0..n_tokens).map(|t| (t * t + t / 7) % n_rows).collect();
            let positions: Arc<[u32]> = (0..n_tokens).map(|t| t % 512).collect();
            let inputs = [(n_rows, 1), (512.min(n_tokens), 2), (2, 3)]
                .map(|(rows, seed)| tensor((rows as usize, width), seed));
            let n_terms = n_tokens as usize;
            check_gpu(|i| embedding(&i[0], ids.clone()), &inputs[..1], n_terms);
            let ids = TokenIds { words: ids, positions };
            check_gpu(|i| token_embeddings(&i[0], &i[1], &i[2], &ids), &inputs, n_terms);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = embedding(&tensor((4, 3), 1), ids().words).unwrap_err().to_string();
        assert!(e.contains("token 0 has id 4, and the table 4 rows"), "{e}");
        let (words, types) = (tensor((5, 3), 1), tensor((1, 3), 3));
        let e = token_embeddings(&words, &tensor((4, 3), 2), &types, &ids()).unwrap_err().to_string();
        assert!(e.contains("token 2 has position 4, and the table 4 rows"), "{e}");
        let e = token_embeddings(&words, &tensor((6, 2), 2), &types, &ids()).unwrap_err().to_string();
        assert!(e.contains("`words` has 3 columns and `positions` has 2"), "{e}");
    }
}
