//! The segmentations of one word into known pieces: the best one, and how often each piece is expected over all.
//!
//! Probabilities of long words (a sentence, in scripts without spaces) fall below what a double holds. They are kept as
//! numbers beside a power of 2^256, which multiplies exactly, so that no logarithm is taken in the inner loop: every
//! operation there is one that IEEE 754 defines to the last bit.

/// Pieces by their characters, in arrays: the children of a node stand together, in order.
pub(super) struct Trie {
    /// The character that leads to each node.
    labels: Vec<char>,
    /// The first child of each node, and the end.
    first_child: Vec<u32>,
    /// The piece that ends at each node.
    pieces: Vec<u32>,
}

const NO_PIECE: u32 = u32::MAX;

impl Trie {
    /// Of distinct texts in ascending order; a piece's number is its place.
    pub(super) fn new(texts: &[Box<[char]>]) -> Self {
        let mut trie = Self { labels: vec!['\0'], first_child: Vec::new(), pieces: Vec::new() };
        // Level by level. Texts that share the path to a node stand together: (first, end, characters so far).
        let mut ranges = vec![(0, texts.len(), 0)];
        let mut node = 0;
        while node < ranges.len() {
            let (mut at, end, depth) = ranges[node];
            let ends_here = at < end && texts[at].len() == depth;
            trie.pieces.push(if ends_here { at as u32 } else { NO_PIECE });
            at += usize::from(ends_here);
            trie.first_child.push(trie.labels.len() as u32);
            while at < end {
                let label = texts[at][depth];
                let n = texts[at..end].partition_point(|text| text[depth] == label);
                trie.labels.push(label);
                ranges.push((at, at + n, depth + 1));
                at += n;
            }
            node += 1;
        }
        trie.first_child.push(trie.labels.len() as u32);
        trie
    }

    fn child(&self, node: usize, label: char) -> Option<usize> {
        let (first, end) = (self.first_child[node] as usize, self.first_child[node + 1] as usize);
        self.labels[first..end].binary_search(&label).ok().map(|at| first + at)
    }

    /// Calls `each` with (length, piece) of all pieces that the text begins with, shortest first.
    fn prefixes(&self, text: &[char], mut each: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (at, &label) in text.iter().enumerate() {
            let Some(next) = self.child(node, label) else { return };
            node = next;
            if self.pieces[node] != NO_PIECE {
                each(at + 1, self.pieces[node]);
            }
        }
    }
}

/// Room to work in; a word leaves nothing behind for the next.
#[derive(Default)]
pub(super) struct Lattice {
    /// (end, piece) of the arcs from each place, in order.
    arcs: Vec<(u32, u32)>,
    /// Where the arcs of each place start, and the end.
    first_arc: Vec<u32>,
    /// By place: the probability of what stands before it, over all segmentations.
    before: Vec<Scaled>,
    /// By place: the probability that it is a boundary.
    boundary: Vec<f64>,
    /// By place: the best score, and the last piece with its start.
    best: Vec<(f64, u32, u32)>,
    path: Vec<u32>,
}

/// `value * 2^(-256 * scale)`.
#[derive(Clone, Copy, Default)]
struct Scaled {
    value: f64,
    scale: i32,
}

const SCALE_BITS: i32 = 256;

/// 2^(256 * n), or 0 where that is too small for a double.
fn power(n: i32) -> f64 {
    debug_assert!(n <= 3, "places that an arc joins are at most 16 characters apart");
    if n < -3 { 0.0 } else { f64::from_bits(((1023 + SCALE_BITS * n) as u64) << 52) }
}

impl Lattice {
    fn find_arcs(&mut self, trie: &Trie, word: &[char]) {
        self.arcs.clear();
        self.first_arc.clear();
        for start in 0..word.len() {
            self.first_arc.push(self.arcs.len() as u32);
            trie.prefixes(&word[start..], |length, piece| self.arcs.push(((start + length) as u32, piece)));
        }
        self.first_arc.push(self.arcs.len() as u32);
    }

    /// Adds `count` times the expected number of each piece in the word. Every character of it is a piece.
    pub(super) fn add_expected(
        &mut self,
        trie: &Trie,
        word: &[char],
        count: f64,
        probabilities: &[f64],
        expected: &mut [f64],
    ) {
        self.find_arcs(trie, word);
        let n = word.len();
        self.before.clear();
        self.before.resize(n + 1, Scaled { value: 0.0, scale: 0 });
        self.before[0] = Scaled { value: 1.0, scale: 0 };
        for start in 0..n {
            let from = self.before[start].renormalised();
            self.before[start] = from;
            for &(end, piece) in
                &self.arcs[self.first_arc[start] as usize..self.first_arc[start + 1] as usize]
            {
                let to = &mut self.before[end as usize];
                if to.value == 0.0 {
                    to.scale = from.scale;
                }
                to.value += from.value * probabilities[piece as usize] * power(to.scale - from.scale);
            }
        }
        // An arc's probability is that its end is a boundary, times its share of what leads there.
        self.boundary.clear();
        self.boundary.resize(n + 1, 0.0);
        self.boundary[n] = 1.0;
        for start in (0..n).rev() {
            let from = self.before[start];
            let mut sum = 0.0;
            for &(end, piece) in
                &self.arcs[self.first_arc[start] as usize..self.first_arc[start + 1] as usize]
            {
                let to = self.before[end as usize];
                let share =
                    from.value * probabilities[piece as usize] * power(to.scale - from.scale) / to.value;
                let probability = self.boundary[end as usize] * share;
                expected[piece as usize] += count * probability;
                sum += probability;
            }
            self.boundary[start] = sum;
        }
    }

    /// The most probable segmentation, without one piece if that is said. Of equal ones, the one whose last pieces are
    /// longest.
    pub(super) fn best(&mut self, trie: &Trie, word: &[char], log_p: &[f64], without: Option<u32>) -> &[u32] {
        self.find_arcs(trie, word);
        self.best.clear();
        self.best.resize(word.len() + 1, (f64::NEG_INFINITY, NO_PIECE, 0));
        self.best[0].0 = 0.0;
        for start in 0..word.len() {
            let score = self.best[start].0;
            for &(end, piece) in
                &self.arcs[self.first_arc[start] as usize..self.first_arc[start + 1] as usize]
            {
                let to = &mut self.best[end as usize];
                if to.0 < score + log_p[piece as usize] && Some(piece) != without {
                    *to = (score + log_p[piece as usize], piece, start as u32);
                }
            }
        }
        self.path.clear();
        let mut end = word.len();
        while 0 < end {
            let (_, piece, start) = self.best[end];
            self.path.push(piece);
            end = start as usize;
        }
        self.path.reverse();
        &self.path
    }
}

impl Scaled {
    fn renormalised(mut self) -> Self {
        while 0.0 < self.value && self.value < power(-1) {
            self.value *= power(1);
            self.scale += 1;
        }
        self
    }
}
