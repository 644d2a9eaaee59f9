//! Attention on a GPU: which block of which kernel takes which tokens. The kernels are in `attention.cu`.
//!
//! Sequences are dealt by length into classes, each with the smallest tile that holds them and launches of its own; those
//! that no tile holds are taken in several. Within a class the longest come first, so that a grid ends in small pieces.

use std::cmp::Reverse;
use std::ops::Range;

use candle_core::{CpuStorage, DType, Result, bail};

use super::Segments;
use super::attention::Attention;
use super::gpu::{Arg, Args, Dims, Gpu, Kernel, Memory, View, args};
use super::rows::Parts;

const FILE: &str = "attention";
const GRADIENT: &str = "attention_gradient";

/// Sequences are dealt to at most so many groups for each token of a tile, whose sums of dbias and drel exist at once: 512
/// groups of one warp, 128 of four, which with twelve heads fill a GPU several times.
const GROUP_ROWS: usize = 512 * 16;

/// What the kernels read.
pub(super) struct Source<'a> {
    pub qkv: View<'a>,
    pub bias: Option<View<'a>>,
    pub rel: Option<View<'a>>,
    pub how: &'a Attention,
}

pub(super) fn forward(gpu: &dyn Gpu, source: &Source<'_>) -> Result<Memory> {
    let y = gpu.allocate(source.qkv.dtype, source.qkv.len() / 3)?;
    for class in source.classes() {
        let items = class.tiles(gpu)?;
        source.launch_tiles(gpu, FILE, &items, &args![Head::new(source, &items, source.qkv), y])?;
    }
    Ok(y)
}

/// The gradients of qkv, bias and rel; of what is not there, one element that nobody reads.
pub(super) fn gradients(gpu: &dyn Gpu, source: &Source<'_>, dy: View<'_>) -> Result<[Memory; 3]> {
    let dqkv = gpu.allocate(source.qkv.dtype, source.qkv.len())?;
    let classes = source.classes();
    let n_groups = classes.iter().map(Class::n_groups).sum();
    let parts = |of: Option<View<'_>>| of.map(|of| Parts::zeros(gpu, n_groups, of.len())).transpose();
    let (dbias, drel) = (parts(source.bias)?, parts(source.rel)?);
    let mut first_group = 0;
    for class in classes {
        let items = class.sequences(gpu)?;
        let kept = if class.is_long { Some(Kept::new(gpu, source, &class, dy)?) } else { None };
        let [log_sum, delta, work] = kept.as_ref().map_or([0; 3], Kept::addresses);
        let [dbias, drel] =
            [&dbias, &drel].map(|parts| parts.as_ref().map_or(0, |parts| parts.of_block(first_group)));
        let head = Head::new(source, &items, dy);
        let args = args![head, dy, dqkv, log_sum, delta, work, dbias, drel, items.n, class.n_groups()];
        let name = if class.is_long { "attention_gradient_long" } else { GRADIENT };
        let dims = Dims {
            grid: [class.n_groups() * source.how.n_heads, 1, 1],
            threads: 2 * class.tile,
            shared_bytes: 4 * source.tile_bytes(class.tile, source.dim())
                + 2 * source.tile_bytes(class.tile, class.tile)
                + 4 * class.tile * size_of::<f32>(),
        };
        gpu.launch(&source.kernel(name, class.tile)?, dims, &args)?;
        first_group += class.n_groups();
    }
    let sum = |parts: Option<Parts>| match parts {
        Some(parts) => parts.sum(gpu),
        None => gpu.zeros(DType::F32, 1),
    };
    Ok([dqkv, sum(dbias)?, sum(drel)?])
}

impl Source<'_> {
    fn dim(&self) -> usize {
        self.qkv.dims[1] / (3 * self.how.n_heads)
    }

    fn kernel(&self, name: &str, tile: usize) -> Result<Kernel> {
        let dim = self.dim();
        if ![32, 64].contains(&dim) {
            bail!("{FILE}: on a GPU there are kernels for heads of 32 or 64 elements, found {dim}");
        }
        Kernel::new(FILE, &format!("{name}_{dim}_{tile}"), self.qkv.dtype)
    }

    /// A launch of a block for each tile of queries and head.
    fn launch_tiles(&self, gpu: &dyn Gpu, name: &str, items: &Items, args: &Args) -> Result<()> {
        let dims = Dims {
            grid: [items.n * self.how.n_heads, 1, 1],
            threads: 2 * items.tile,
            shared_bytes: 3 * self.tile_bytes(items.tile, self.dim()) + 2 * items.tile * size_of::<f32>(),
        };
        gpu.launch(&self.kernel(name, items.tile)?, dims, args)
    }

    /// Of shared memory, with the padding of `Tile` in `attention_tile.cuh`.
    fn tile_bytes(&self, rows: usize, columns: usize) -> usize {
        rows * (columns * self.qkv.dtype.size_in_bytes() + 16)
    }

    /// Those that have sequences, the longest first.
    fn classes(&self) -> Vec<Class> {
        // Tiles of f32 take more registers, and are for what is small.
        let tiles: &[usize] = if self.qkv.dtype == DType::F32 { &[16] } else { &[16, 32, 64] };
        let class = |tile: usize, is_long: bool| Class { tile, is_long, sequences: Vec::new() };
        let mut classes: Vec<Class> = tiles.iter().map(|&tile| class(tile, false)).collect();
        classes.push(class(tiles[tiles.len() - 1], true));
        let segments: &Segments = &self.how.segments;
        for tokens in segments.ranges() {
            let place = tiles.partition_point(|&tile| tile < tokens.len());
            classes[place].sequences.push(tokens);
        }
        classes.retain(|class| !class.sequences.is_empty());
        classes.reverse();
        for class in &mut classes {
            class.sequences.sort_by_key(|tokens| Reverse(tokens.len()));
        }
        classes
    }
}

/// Sequences with the same tile.
struct Class {
    /// Its tokens.
    tile: usize,
    /// Whether a sequence has several tiles.
    is_long: bool,
    sequences: Vec<Range<usize>>,
}

impl Class {
    fn n_groups(&self) -> usize {
        self.sequences.len().min(GROUP_ROWS / self.tile)
    }

    /// Tokens in whole tiles.
    fn n_rows(&self) -> usize {
        self.sequences.iter().map(|tokens| tokens.len().next_multiple_of(self.tile)).sum()
    }

    fn sequences(&self, gpu: &dyn Gpu) -> Result<Items> {
        self.items(gpu, |_| 0..1)
    }

    fn tiles(&self, gpu: &dyn Gpu) -> Result<Items> {
        self.items(gpu, |n_tokens| 0..n_tokens)
    }

    /// An item for every first query of a tile in a range that follows from the number of tokens.
    fn items(&self, gpu: &dyn Gpu, starts: impl Fn(usize) -> Range<usize>) -> Result<Items> {
        let mut items = Vec::new();
        let mut row = 0;
        for tokens in &self.sequences {
            for start in starts(tokens.len()).step_by(self.tile) {
                items.extend([tokens.start, tokens.len(), start, row].map(|number| number as u32));
            }
            row += tokens.len().next_multiple_of(self.tile);
        }
        Ok(Items { n: items.len() / 4, tile: self.tile, memory: gpu.upload(CpuStorage::U32(items))? })
    }
}

/// `Item` of `attention_scores.cuh`, of a class.
struct Items {
    memory: Memory,
    n: usize,
    tile: usize,
}

/// What the gradient of sequences of several tiles keeps between tiles.
struct Kept {
    log_sum: Memory,
    delta: Memory,
    work: Memory,
}

impl Kept {
    fn new(gpu: &dyn Gpu, source: &Source<'_>, class: &Class, dy: View<'_>) -> Result<Self> {
        let n = class.n_rows() * source.how.n_heads;
        let log_sum = gpu.allocate(DType::F32, n)?;
        let delta = gpu.allocate(DType::F32, n)?;
        let items = class.tiles(gpu)?;
        let args = args![Head::new(source, &items, dy), dy, log_sum, delta];
        source.launch_tiles(gpu, "attention_statistics", &items, &args)?;
        Ok(Self { log_sum, delta, work: gpu.allocate(DType::F32, n * source.dim())? })
    }

    fn addresses(&self) -> [u64; 3] {
        [&self.log_sum, &self.delta, &self.work].map(|memory| memory.address)
    }
}

/// `Inputs` of `attention_scores.cuh`.
struct Head<'a> {
    source: &'a Source<'a>,
    items: &'a Items,
    is_aligned: bool,
}

impl<'a> Head<'a> {
    /// `other` is what a kernel copies beside qkv.
    fn new(source: &'a Source<'a>, items: &'a Items, other: View<'_>) -> Self {
        let is_aligned = [source.qkv, other].iter().all(|view| view.address.is_multiple_of(16));
        Self { source, items, is_aligned }
    }
}

impl Arg for Head<'_> {
    fn write(&self, args: &mut Args) {
        let Source { qkv, bias, rel, how } = self.source;
        qkv.write(args);
        bias.map_or(0, |bias| bias.address).write(args);
        rel.map_or(0, |rel| rel.address).write(args);
        self.items.memory.write(args);
        how.n_heads.write(args);
        rel.map_or(0, |rel| rel.matrix().1).write(args);
        how.segments.first_token().write(args);
        how.dropout.write(args);
        (how.scale as f32).write(args);
        u32::from(self.is_aligned).write(args);
    }
}
