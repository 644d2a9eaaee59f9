//! Which side of the split every group and every context falls on, so that an evaluation never leaks into training.
//!
//! Groups and contexts are nodes of a graph: a group is tied to each context that it is judged in, in whatever
//! language; equal ids of parallel corpora are tied across datasets; by title, contexts are tied to their title. A
//! connected component is the least that may be moved, so it goes to one side whole. Components are taken in an order
//! that depends on (seed, name) only. A fraction takes `round(fraction * units)` of them at most, halves up, leaving out
//! a component that would go beyond. The fold of a component follows from its own name, so that another corpus moves
//! nothing from one fold to another.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};

use crate::error::{Error, Result};
use crate::keys::subkey;
use crate::pipeline::{EvalSplit, Pipeline, Ratio, SplitBy};

/// What the split looks at: kept tables, and judgements as (group, row of the passage).
pub(super) struct Inputs<'a> {
    pub(super) queries: &'a RecordBatch,
    pub(super) passages: &'a RecordBatch,
    pub(super) qrel_groups: &'a StringViewArray,
    pub(super) qrel_passages: &'a UInt32Array,
}

/// `(group_id, eval)` and `(context_id, eval)`: one row for each.
pub(super) struct Sides {
    pub(super) groups: RecordBatch,
    pub(super) contexts: RecordBatch,
}

struct Graph<'a> {
    parents: Vec<u32>,
    groups: Nodes<'a>,
    contexts: Nodes<'a>,
    titles: Nodes<'a>,
}

#[derive(Default)]
struct Nodes<'a> {
    by_name: HashMap<&'a str, u32>,
    /// (name, node) in order of appearance.
    all: Vec<(&'a str, u32)>,
}

impl<'a> Nodes<'a> {
    fn node(&mut self, name: &'a str, parents: &mut Vec<u32>) -> u32 {
        *self.by_name.entry(name).or_insert_with(|| {
            let node = u32::try_from(parents.len()).expect("fewer than 2^32 groups and contexts");
            parents.push(node);
            self.all.push((name, node));
            node
        })
    }
}

pub(super) fn sides(
    pipeline: &Pipeline,
    eval: &EvalSplit,
    ids: &HashSet<String>,
    inputs: &Inputs,
) -> Result<Sides> {
    let mut graph = Graph::new(pipeline, inputs);
    if eval.by == Some(SplitBy::Title) {
        graph.tie_titles(pipeline, inputs)?;
    }
    let seed = eval.seed.unwrap_or(pipeline.seed);
    let chosen = match (eval.by, eval.fraction, eval.folds.zip(eval.fold)) {
        (Some(by), Some(fraction), _) => fraction_of(graph.components(seed, by), fraction)?,
        (Some(by), _, Some((folds, fold))) => fold_of(graph.components(seed, by), folds.get(), fold)?,
        _ => {
            let chosen = graph.with_ids(pipeline, |id| ids.contains(id));
            if chosen.is_empty() {
                return Err(Error::setting("split.eval.ids_from", "no question bears an id of that corpus"));
            }
            chosen
        }
    };
    let mut side = |nodes: &[(&str, u32)], name: &str| {
        let names = StringViewArray::from_iter_values(nodes.iter().map(|(name, _)| *name));
        let eval: BooleanArray =
            nodes.iter().map(|&(_, node)| Some(chosen.contains(&root(&mut graph.parents, node)))).collect();
        let schema = Schema::new(vec![
            Field::new(name, DataType::Utf8View, false),
            Field::new("eval", DataType::Boolean, true),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(eval)])
            .expect("two columns of one length")
    };
    Ok(Sides {
        groups: side(&graph.groups.all, "group_id"),
        contexts: side(&graph.contexts.all, "context_id"),
    })
}

/// Groups and contexts of the components that have a question of one of these ids.
pub(super) fn tied_to<'a>(
    pipeline: &Pipeline,
    ids: &HashSet<&str>,
    inputs: &Inputs<'a>,
) -> (HashSet<&'a str>, HashSet<&'a str>) {
    let mut graph = Graph::new(pipeline, inputs);
    let roots = graph.with_ids(pipeline, |id| ids.contains(id));
    let mut tied = |nodes: &[(&'a str, u32)]| -> HashSet<&'a str> {
        let tied = nodes.iter().filter(|(_, node)| roots.contains(&root(&mut graph.parents, *node)));
        tied.map(|(name, _)| *name).collect()
    };
    (tied(&graph.groups.all), tied(&graph.contexts.all))
}

impl<'a> Graph<'a> {
    fn new(pipeline: &Pipeline, inputs: &Inputs<'a>) -> Self {
        let mut graph = Self {
            parents: Vec::new(),
            groups: Nodes::default(),
            contexts: Nodes::default(),
            titles: Nodes::default(),
        };
        let contexts = inputs.passages.column(4).as_string_view();
        let context_nodes: Vec<u32> = (0..contexts.len())
            .map(|row| graph.contexts.node(contexts.value(row), &mut graph.parents))
            .collect();
        let groups = inputs.queries.column(1).as_string_view();
        for row in 0..groups.len() {
            graph.groups.node(groups.value(row), &mut graph.parents);
        }
        for (at, &passage) in inputs.qrel_passages.values().iter().enumerate() {
            let group = graph.groups.node(inputs.qrel_groups.value(at), &mut graph.parents);
            graph.tie(group, context_nodes[passage as usize]);
        }
        graph.tie_equal_ids(pipeline);
        graph
    }

    /// A question of two parallel corpora is one question: XQuAD's ids are XQuAD-R's and SQuAD's.
    fn tie_equal_ids(&mut self, pipeline: &Pipeline) {
        let parallel: HashSet<&str> =
            pipeline.corpora.iter().filter(|c| c.is_parallel()).map(|c| c.name.as_str()).collect();
        let mut first: HashMap<&str, u32> = HashMap::new();
        for (name, node) in std::mem::take(&mut self.groups.all) {
            if let Some((dataset, id)) = name.split_once('/')
                && parallel.contains(dataset)
            {
                let other = *first.entry(id).or_insert(node);
                self.tie(other, node);
            }
            self.groups.all.push((name, node));
        }
    }

    /// What has no title is never held out by it: a text that is a question and a passage at once, and a context whose
    /// record lacks the title that others of its dataset have.
    fn tie_titles(&mut self, pipeline: &Pipeline, inputs: &Inputs<'a>) -> Result<()> {
        let contexts = inputs.passages.column(4).as_string_view();
        let titles = inputs.passages.column(5).as_dictionary::<Int32Type>();
        let names = titles.values().as_string::<i32>();
        let mut titled: HashSet<&str> =
            pipeline.corpora.iter().filter(|c| c.is_symmetric()).map(|c| c.name.as_str()).collect();
        let mut met: BTreeSet<&str> = BTreeSet::new();
        for row in 0..contexts.len() {
            let dataset = contexts.value(row).split_once('/').map_or("", |(dataset, _)| dataset);
            met.insert(dataset);
            let Some(key) = titles.key(row) else { continue };
            titled.insert(dataset);
            let title = self.titles.node(names.value(key), &mut self.parents);
            let context = self.contexts.by_name[contexts.value(row)];
            self.tie(title, context);
        }
        match met.into_iter().find(|dataset| !titled.contains(dataset)) {
            None => Ok(()),
            Some(dataset) => {
                let found = format!("no context of `{dataset}` has a title");
                Err(Error::setting("split.eval.by", found).with_hint("split by `paragraph` or `group`"))
            }
        }
    }

    fn tie(&mut self, a: u32, b: u32) {
        let (a, b) = (root(&mut self.parents, a), root(&mut self.parents, b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    /// The components that may be held out, in their order.
    fn components(&mut self, seed: u64, by: SplitBy) -> Vec<Component> {
        // Contexts without a question, in whatever language, are no evaluation, and neither are questions that no
        // unit counts (all their passages were filtered out, say): both stay for training.
        let with_groups: HashSet<u32> =
            self.groups.all.iter().map(|&(_, node)| root(&mut self.parents, node)).collect();
        let units = match by {
            SplitBy::Title => &self.titles.all,
            SplitBy::Group => &self.groups.all,
            SplitBy::Paragraph => &self.contexts.all,
        };
        let named = if by == SplitBy::Title { &self.titles.all } else { &self.groups.all };
        let mut components: HashMap<u32, (u64, Option<&str>)> = HashMap::new();
        for &(_, node) in units {
            components.entry(root(&mut self.parents, node)).or_default().0 += 1;
        }
        for &(name, node) in named {
            let component = components.entry(root(&mut self.parents, node)).or_default();
            component.1 = Some(component.1.map_or(name, |least| least.min(name)));
        }
        components.retain(|node, (n, _)| *n != 0 && with_groups.contains(node));
        let mut order: Vec<_> = components
            .into_iter()
            .filter_map(|(root, (units, name))| {
                name.map(|name| (Component { key: subkey(seed, "split", name, 0), root, units }, name))
            })
            .collect();
        order.sort_unstable_by_key(|&(component, name)| (component.key, name));
        order.into_iter().map(|(component, _)| component).collect()
    }

    /// Roots of the components with a question of one of these ids.
    fn with_ids(&mut self, pipeline: &Pipeline, is_one: impl Fn(&str) -> bool) -> HashSet<u32> {
        let mut chosen = HashSet::new();
        for &(name, node) in &self.groups.all {
            if is_one(bare_id(pipeline, name)) {
                chosen.insert(root(&mut self.parents, node));
            }
        }
        chosen
    }
}

/// What is tied together.
#[derive(Clone, Copy)]
struct Component {
    /// Of its name: its place in the order.
    key: u64,
    root: u32,
    /// How many titles, groups or contexts it has.
    units: u64,
}

/// Roots of the components that make up the fraction.
fn fraction_of(components: Vec<Component>, fraction: Ratio) -> Result<HashSet<u32>> {
    let total: u64 = components.iter().map(|component| component.units).sum();
    let wanted = fraction.of(total).unwrap_or(0);
    let (mut taken, mut chosen) = (0, HashSet::new());
    for Component { root, units, .. } in components {
        if taken + units <= wanted {
            taken += units;
            chosen.insert(root);
        }
    }
    if chosen.is_empty() {
        let found = format!("{fraction} of {total} is too little to hold one out whole");
        return Err(Error::setting("split.eval.fraction", found)
            .with_hint("a larger fraction, or `by = \"paragraph\"`, holds out something"));
    }
    Ok(chosen)
}

/// Roots of the components of one fold.
fn fold_of(components: Vec<Component>, folds: u32, fold: u32) -> Result<HashSet<u32>> {
    let n_components = components.len();
    let fold_of = |key: u64| (u128::from(key) * u128::from(folds)) >> 64;
    let of_fold = components.into_iter().filter(|component| fold_of(component.key) == u128::from(fold));
    let chosen: HashSet<u32> = of_fold.map(|component| component.root).collect();
    if chosen.is_empty() {
        let found = format!("fold {fold} of {folds} got none of the {n_components} parts that stay whole");
        return Err(Error::setting("split.eval.folds", found).with_hint(
            "fewer folds, another `split.eval.seed`, or `by = \"paragraph\"` leave something in it",
        ));
    }
    Ok(chosen)
}

/// The id that the source gave to a group: without dataset, and without language where the corpus is not parallel.
pub(super) fn bare_id<'a>(pipeline: &Pipeline, group_id: &'a str) -> &'a str {
    let (dataset, rest) = group_id.split_once('/').unwrap_or(("", group_id));
    let parallel = pipeline.corpora.iter().any(|c| c.name == dataset && c.is_parallel());
    if parallel { rest } else { rest.split_once('/').map_or(rest, |(_, id)| id) }
}

/// The root of a node's component; halves the path on the way.
fn root(parents: &mut [u32], mut node: u32) -> u32 {
    while parents[node as usize] != node {
        parents[node as usize] = parents[parents[node as usize] as usize];
        node = parents[node as usize];
    }
    node
}
