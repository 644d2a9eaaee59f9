//! `embedding`: rows of a table, and `token_embeddings`: the sum of three of them that a BERT begins with.
//!
//! The gradient of a table is dense, so give a small one: the rows that a step touches, with numbers of their own.
//! Each row of it is summed in the order of the tokens, by one thread.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::check::{alike, by_dtype, elements, matrix, output};
use super::lanes::add;
use super::real::Real;
use super::rows::{Places, for_rows};
use super::tape::Operand;

const EMBEDDING: &str = "embedding";
const TOKEN_EMBEDDINGS: &str = "token_embeddings";

/// table: (V, D), ids: T numbers below V -> (T, D).
///
/// # Errors
/// When an id is not below V, or the table is not a contiguous matrix of floats.
pub fn embedding<V: Operand>(table: &V, ids: Arc<[u32]>) -> Result<V> {
    let (n_rows, _) = matrix(EMBEDDING, "table", table.tensor())?;
    check_ids(EMBEDDING, "id", &ids, n_rows)?;
    table.apply1(Embedding { ids })
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
    words.apply3(positions, types, op)
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

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        EMBEDDING
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        by_dtype!(table, T => {
            let table = elements::<T>(table, layout)?;
            let mut y = vec![0.0; self.ids.len() * width];
            for_rows(&mut y, width, |t, y| y.copy_from_slice(&table[self.ids[t] as usize * width..][..width]));
            Ok(output(y, (self.ids.len(), width)))
        })
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        sum_by_id(dy, &self.ids, table.dim(0)?).map(Some)
    }
}

struct TokenEmbeddings {
    words: Arc<[u32]>,
    positions: Arc<[u32]>,
}

impl CustomOp3 for TokenEmbeddings {
    fn name(&self) -> &'static str {
        TOKEN_EMBEDDINGS
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
        types: &CpuStorage,
        types_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = words_layout.shape().dims2()?;
        by_dtype!(words, T => {
            let words = elements::<T>(words, words_layout)?;
            let positions = elements::<T>(positions, positions_layout)?;
            let kind = &elements::<T>(types, types_layout)?[..width];
            let mut y = vec![0.0; self.words.len() * width];
            for_rows(
                &mut y,
                width,
                #[inline(always)]
                |t, y| {
                    let word = &words[self.words[t] as usize * width..][..width];
                    let position = &positions[self.positions[t] as usize * width..][..width];
                    for (((y, &word), &kind), &position) in y.iter_mut().zip(word).zip(kind).zip(position) {
                        *y = word + kind + position;
                    }
                },
            );
            Ok(output(y, (self.words.len(), width)))
        })
    }

    fn bwd(
        &self,
        words: &Tensor,
        positions: &Tensor,
        types: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let kinds: Arc<[u32]> = vec![0; self.words.len()].into();
        Ok((
            Some(sum_by_id(dy, &self.words, words.dim(0)?)?),
            Some(sum_by_id(dy, &self.positions, positions.dim(0)?)?),
            Some(sum_by_id(dy, &kinds, types.dim(0)?)?),
        ))
    }
}

/// dy: (T, D) -> (`n_rows`, D), row v being the sum of the rows t with `ids[t] == v`, in ascending t.
fn sum_by_id(dy: &Tensor, ids: &Arc<[u32]>, n_rows: usize) -> Result<Tensor> {
    dy.contiguous()?.apply_op1_no_bwd(&SumById { ids: ids.clone(), n_rows })
}

struct SumById {
    ids: Arc<[u32]>,
    n_rows: usize,
}

impl CustomOp1 for SumById {
    fn name(&self) -> &'static str {
        "embedding_gradient"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        by_dtype!(dy, T => Ok(output(self.sum::<T>(elements(dy, layout)?, width), (self.n_rows, width))))
    }
}

impl SumById {
    fn sum<T: Real>(&self, dy: &[T], width: usize) -> Vec<T> {
        let places = Places::new(&self.ids, self.n_rows);
        let mut sums = vec![T::zero(); self.n_rows * width];
        for_rows(
            &mut sums,
            width,
            #[inline(always)]
            |id, sum| {
                for &t in places.of(id) {
                    add(sum, &dy[t as usize * width..][..width]);
                }
            },
        );
        sums
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor, values};
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
