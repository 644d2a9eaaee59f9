//! A tape: the ops of a forward pass in their order, walked back for gradients.
//!
//! Candle's own `backward` puts zeros where a gradient is to be and adds to them, and keeps every activation until all
//! gradients are there. Here the first gradient of a value is moved to its place, and an op's inputs are dropped as the
//! walk passes it. A [`Node`] is no tensor: an op that the tape does not know, and whose gradient would be lost without
//! a word, does not compile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use candle_core::{CustomOp1, CustomOp2, CustomOp3, DType, Result, Tensor, Var};

use super::add::add;

/// What ops are applied to: tensors, whose graph candle keeps, or nodes, whose tape is ours.
pub trait Operand: Sized {
    fn tensor(&self) -> &Tensor;

    /// Whether no gradient is wanted of it, which an op may spare its backward pass.
    fn is_constant(&self) -> bool;

    /// # Errors
    /// Those of the op.
    fn apply1(&self, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Self>;

    /// # Errors
    /// Those of the op.
    fn apply2(&self, second: &Self, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Self>;

    /// # Errors
    /// Those of the op.
    fn apply3(&self, second: &Self, third: &Self, op: impl CustomOp3 + Send + Sync + 'static)
    -> Result<Self>;
}

impl Operand for Tensor {
    fn tensor(&self) -> &Tensor {
        self
    }

    fn is_constant(&self) -> bool {
        !self.track_op()
    }

    fn apply1(&self, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Self> {
        self.apply_op1(op)
    }

    fn apply2(&self, second: &Self, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Self> {
        self.apply_op2(second, op)
    }

    fn apply3(
        &self,
        second: &Self,
        third: &Self,
        op: impl CustomOp3 + Send + Sync + 'static,
    ) -> Result<Self> {
        self.apply_op3(second, third, op)
    }
}

/// A value of a forward pass.
#[derive(Clone, Debug)]
pub struct Node {
    tensor: Tensor,
    /// Its number on a tape; nothing where no gradient is wanted.
    place: Option<(Tape, usize)>,
}

/// The ops of a forward pass. Clones are the same tape.
#[derive(Clone, Debug, Default)]
pub struct Tape(Rc<RefCell<Records>>);

#[derive(Debug, Default)]
struct Records {
    applied: Vec<Record>,
    n_nodes: usize,
    times: Times,
}

/// Seconds that each op took, forward and backward.
pub type Times = BTreeMap<&'static str, [f64; 2]>;

struct Record {
    name: &'static str,
    op: Op,
    inputs: Vec<usize>,
    outs: Vec<usize>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {:?} -> {:?}", self.name, self.inputs, self.outs)
    }
}

/// An op, what it was applied to, and what came of it.
enum Op {
    One(Box<dyn CustomOp1 + Send + Sync>, Tensor, Tensor),
    Two(Box<dyn CustomOp2 + Send + Sync>, [Tensor; 2], Tensor),
    Three(Box<dyn CustomOp3 + Send + Sync>, [Tensor; 3], Tensor),
    Composed(Box<Composition>, Vec<Tensor>),
    /// With two outputs; the closure has what it needs.
    Pair(Box<PairGradients>),
}

type Composition = dyn Fn(&[Tensor]) -> Result<Tensor>;
type PairGradients = dyn FnOnce([Option<Tensor>; 2]) -> Result<[Option<Tensor>; 3]>;

impl Tape {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A value that a gradient is wanted of.
    #[must_use]
    pub fn leaf(&self, tensor: Tensor) -> Node {
        Node { tensor, place: Some((self.clone(), self.number())) }
    }

    fn number(&self) -> usize {
        let mut records = self.0.borrow_mut();
        records.n_nodes += 1;
        records.n_nodes - 1
    }

    fn push<const M: usize>(
        &self,
        begun: Instant,
        name: &'static str,
        op: Op,
        inputs: Vec<usize>,
        values: [Tensor; M],
    ) -> [Node; M] {
        let nodes = values.map(|value| self.leaf(value));
        let outs = nodes.iter().map(|node| node.number_on(self)).collect();
        let mut records = self.0.borrow_mut();
        records.times.entry(name).or_default()[0] += begun.elapsed().as_secs_f64();
        records.applied.push(Record { name, op, inputs, outs });
        nodes
    }

    /// The gradients of `leaves`, `of_end` being that of `end`; nothing for constants; never in bf16. Empties the tape.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn backward(&self, end: &Node, of_end: Tensor, leaves: &[Node]) -> Result<Vec<Option<Tensor>>> {
        let Records { mut applied, n_nodes, mut times } = std::mem::take(&mut *self.0.borrow_mut());
        let mut gradients: Vec<Option<Tensor>> = vec![None; n_nodes];
        gradients[end.number_on(self)] = Some(of_end);
        while let Some(record) = applied.pop() {
            let of_values: Vec<_> = record.outs.iter().map(|&out| gradients[out].take()).collect();
            if of_values.iter().all(Option::is_none) {
                continue;
            }
            let begun = Instant::now();
            let (name, inputs) = (record.name, record.inputs);
            for (input, gradient) in inputs.into_iter().zip(record.op.backward(of_values)?) {
                let Some(gradient) = gradient else { continue };
                let sum = &mut gradients[input];
                *sum = Some(match sum.take() {
                    None => gradient,
                    Some(sum) => add(&sum, &gradient)?,
                });
            }
            times.entry(name).or_default()[1] += begun.elapsed().as_secs_f64();
        }
        self.0.borrow_mut().times = times;
        let mut of_leaf = |leaf: &Node| {
            let number = leaf.place.as_ref().map(|_| leaf.number_on(self))?;
            gradients[number].take()
        };
        // Ops of candle give a parameter of bf16 a gradient of bf16, ours one of f32, which is what is added up.
        let in_f32 = |gradient: Tensor| match gradient.dtype() {
            DType::BF16 => gradient.to_dtype(DType::F32),
            _ => Ok(gradient),
        };
        leaves.iter().map(|leaf| of_leaf(leaf).map(in_f32).transpose()).collect()
    }

    /// What the ops took so far.
    #[must_use]
    pub fn times(&self) -> Times {
        self.0.borrow().times.clone()
    }
}

impl Op {
    /// The gradients of the inputs, of those of the outputs, of which there is one at least.
    fn backward(self, mut of_values: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
        let mut next = || of_values.remove(0);
        let mut only = || next().expect("the gradient of an only output");
        Ok(match self {
            Op::One(op, x, value) => vec![op.bwd(&x, &value, &only())?],
            Op::Two(op, [x, y], value) => {
                let (dx, dy) = op.bwd(&x, &y, &value, &only())?;
                vec![dx, dy]
            }
            Op::Three(op, [x, y, z], value) => {
                let (dx, dy, dz) = op.bwd(&x, &y, &z, &value, &only())?;
                vec![dx, dy, dz]
            }
            Op::Pair(gradients) => gradients([next(), next()])?.into(),
            Op::Composed(f, inputs) => {
                let dy = only();
                let variables = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
                let inputs: Vec<Tensor> = variables.iter().map(|var| var.as_tensor().clone()).collect();
                let value = f(&inputs)?;
                // On a GPU the gradient of a parameter is f32 where the parameter is bf16.
                let mut store = (&value * dy.to_dtype(value.dtype())?)?.sum_all()?.backward()?;
                inputs.iter().map(|input| store.remove(input)).collect()
            }
        })
    }
}

impl Node {
    /// A value that no gradient is wanted of.
    #[must_use]
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, place: None }
    }

    /// Ops of candle on these nodes. The gradient computes them again and is candle's, so this is for what is small.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn compose(
        inputs: &[&Self],
        name: &'static str,
        f: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Result<Self> {
        let begun = Instant::now();
        let tensors: Vec<Tensor> = inputs.iter().map(|node| node.tensor.clone()).collect();
        let value = f(&tensors)?;
        Ok(match Self::tape_of(inputs) {
            None => Self::constant(value),
            Some(tape) => {
                let numbers = tape.numbers(inputs);
                let [node] = tape.push(begun, name, Op::Composed(Box::new(f), tensors), numbers, [value]);
                node
            }
        })
    }

    /// An op with two outputs, which are given with how the gradients of the inputs follow from those of the outputs that
    /// have one. That keeps what it needs, and nothing is kept for constants.
    ///
    /// # Errors
    /// Those of `f`.
    pub(super) fn pair<G>(
        inputs: [&Self; 3],
        name: &'static str,
        f: impl FnOnce([&Tensor; 3]) -> Result<([Tensor; 2], G)>,
    ) -> Result<[Self; 2]>
    where
        G: FnOnce([Option<Tensor>; 2]) -> Result<[Option<Tensor>; 3]> + 'static,
    {
        let begun = Instant::now();
        let (values, gradients) = f(inputs.map(|node| &node.tensor))?;
        let Some(tape) = Self::tape_of(&inputs) else { return Ok(values.map(Self::constant)) };
        Ok(tape.push(begun, name, Op::Pair(Box::new(gradients)), tape.numbers(&inputs), values))
    }

    fn tape_of(inputs: &[&Self]) -> Option<Tape> {
        inputs.iter().find_map(|node| node.place.as_ref()).map(|(tape, _)| tape.clone())
    }

    fn number_on(&self, tape: &Tape) -> usize {
        match &self.place {
            Some((other, number)) if Rc::ptr_eq(&tape.0, &other.0) => *number,
            _ => panic!("the node is not on this tape"),
        }
    }
}

impl Tape {
    /// Constants get numbers, too; a gradient that an op computes of one all the same is dropped.
    fn numbers(&self, inputs: &[&Node]) -> Vec<usize> {
        let number = |node: &&Node| match &node.place {
            Some(_) => node.number_on(self),
            None => self.number(),
        };
        inputs.iter().map(number).collect()
    }
}

impl Operand for Node {
    fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    fn is_constant(&self) -> bool {
        self.place.is_none()
    }

    fn apply1(&self, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Self> {
        let begun = Instant::now();
        let value = self.tensor.apply_op1_no_bwd(&op)?;
        let inputs = [self];
        let Some(tape) = Self::tape_of(&inputs) else { return Ok(Self::constant(value)) };
        let name = op.name();
        let op = Op::One(Box::new(op), self.tensor.clone(), value.clone());
        let [node] = tape.push(begun, name, op, tape.numbers(&inputs), [value]);
        Ok(node)
    }

    fn apply2(&self, second: &Self, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Self> {
        let begun = Instant::now();
        let value = self.tensor.apply_op2_no_bwd(&second.tensor, &op)?;
        let inputs = [self, second];
        let Some(tape) = Self::tape_of(&inputs) else { return Ok(Self::constant(value)) };
        let name = op.name();
        let op = Op::Two(Box::new(op), inputs.map(|node| node.tensor.clone()), value.clone());
        let [node] = tape.push(begun, name, op, tape.numbers(&inputs), [value]);
        Ok(node)
    }

    fn apply3(
        &self,
        second: &Self,
        third: &Self,
        op: impl CustomOp3 + Send + Sync + 'static,
    ) -> Result<Self> {
        let begun = Instant::now();
        let value = self.tensor.apply_op3_no_bwd(&second.tensor, &third.tensor, &op)?;
        let inputs = [self, second, third];
        let Some(tape) = Self::tape_of(&inputs) else { return Ok(Self::constant(value)) };
        let name = op.name();
        let op = Op::Three(Box::new(op), inputs.map(|node| node.tensor.clone()), value.clone());
        let [node] = tape.push(begun, name, op, tape.numbers(&inputs), [value]);
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::{assert_close, tensor};
    use super::super::{Activation, bias_activation, linear};
    use super::*;

    /// x wᵀ + relu(x wᵀ + b) + tanh(x wᵀ): a value that is used three times, and an op of each kind.
    fn network<V: Operand>(x: &V, w: &V, b: &V, tanh: impl Fn(&V) -> Result<V>) -> Result<V> {
        let y = linear(x, w)?;
        add(&add(&y, &bias_activation(&y, b, Activation::Relu)?)?, &tanh(&y)?)
    }

    fn inputs() -> [Tensor; 3] {
        [tensor((5, 3), 1), tensor((4, 3), 2), tensor(4, 3)]
    }

    #[test]
    fn gradients_are_those_of_candle() {
        let [x, w, b] = inputs();
        let of_end = tensor((5, 4), 4);
        let variables = inputs().map(|input| Var::from_tensor(&input).unwrap());
        let y = network(variables[0].as_tensor(), &variables[1], &variables[2], Tensor::tanh).unwrap();
        let expected = (&y * &of_end).unwrap().sum_all().unwrap().backward().unwrap();

        let tape = Tape::new();
        // One of them is a constant.
        let leaves = [tape.leaf(x), Node::constant(w), tape.leaf(b)];
        let tanh = |y: &Node| Node::compose(&[y], "tanh", |y| y[0].tanh());
        let end = network(&leaves[0], &leaves[1], &leaves[2], tanh).unwrap();
        assert_close(end.tensor(), &y, 0.0);
        let found = tape.backward(&end, of_end, &leaves).unwrap();
        assert!(found[1].is_none());
        for i in [0, 2] {
            assert_close(found[i].as_ref().unwrap(), expected.get(&variables[i]).unwrap(), 1e-15);
        }
        let times = tape.times();
        assert_eq!(times.keys().copied().collect::<Vec<_>>(), ["add", "bias_activation", "linear", "tanh"]);
    }

    /// As on a GPU, where the gradient of a parameter in bf16 is f32.
    #[test]
    fn composed_ops_take_a_gradient_of_another_type() {
        let [x, _, _] = inputs();
        let tape = Tape::new();
        let leaf = tape.leaf(x.clone());
        let end = Node::compose(&[&leaf], "square", |x| x[0].sqr()).unwrap();
        let of_end = x.ones_like().unwrap().to_dtype(DType::F32).unwrap();
        let found = tape.backward(&end, of_end, &[leaf]).unwrap();
        assert_close(found[0].as_ref().unwrap(), &(x * 2.0).unwrap(), 1e-15);
    }

    #[test]
    fn nothing_is_kept_of_constants() {
        let [x, w, b] = inputs().map(Node::constant);
        let end = network(&x, &w, &b, |y| Node::compose(&[y], "tanh", |y| y[0].tanh())).unwrap();
        assert!(end.place.is_none());
    }
}
