//! Recurrent layers: Elman networks, LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014).

use super::{Ctx, Dropout, Init, Module, Param, Params};
use crate::{Error, Result, Tensor};

/// The cell of a recurrent network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RnnKind {
    /// h' = tanh(W x + b + U h + c).
    Tanh,
    /// h' = max(W x + b + U h + c, 0).
    Relu,
    /// Gates i, f, g, o, stacked in this order; the state is h and c.
    Lstm,
    /// Gates r, z, n, stacked in this order; the reset gate falls on U h + c, as in PyTorch and cuDNN.
    Gru,
}

impl RnnKind {
    fn gates(self) -> usize {
        match self {
            RnnKind::Tanh | RnnKind::Relu => 1,
            RnnKind::Lstm => 4,
            RnnKind::Gru => 3,
        }
    }
}

/// The sizes and choices of a recurrent network.
#[derive(Clone, Copy, Debug)]
pub struct RnnConfig {
    /// The cell.
    pub kind: RnnKind,
    /// Features of the input.
    pub inputs: usize,
    /// Features of the state.
    pub hidden: usize,
    /// Layers, each fed with the output of the one below.
    pub layers: usize,
    /// Whether a second set of cells runs from the end to the beginning; outputs are concatenated.
    pub bidirectional: bool,
    /// Sequences are (B, T, features) if true, (T, B, features) if false.
    pub batch_first: bool,
    /// Probability of dropout between layers.
    pub dropout: f64,
}

impl RnnConfig {
    /// One layer, one direction, (B, T, features), no dropout.
    pub fn new(kind: RnnKind, inputs: usize, hidden: usize) -> Self {
        RnnConfig { kind, inputs, hidden, layers: 1, bidirectional: false, batch_first: true, dropout: 0.0 }
    }
}

/// What a recurrent network gives.
#[derive(Clone, Debug)]
pub struct RnnOutput {
    /// The last layer's states at every step, in the input's axis order; both directions concatenated.
    pub output: Tensor,
    /// The last states (layers · directions, B, hidden).
    pub hidden: Tensor,
    /// The last cell states of an LSTM, of the same shape.
    pub cell: Option<Tensor>,
}

struct Cell {
    weight_ih: Param,
    weight_hh: Param,
    bias_ih: Param,
    bias_hh: Param,
}

/// A recurrent network in PyTorch's names: `weight_ih_l0` (gates · hidden, inputs), `weight_hh_l0`, `bias_ih_l0`,
/// `bias_hh_l0`, with `_reverse` for the second direction; all uniform ± 1/√hidden at first.
pub struct Rnn {
    config: RnnConfig,
    cells: Vec<Cell>,
    dropout: Dropout,
}

impl Rnn {
    /// A network with PyTorch's initial values.
    pub fn new(params: &Params, config: RnnConfig) -> Result<Self> {
        let (gates, hidden) = (config.kind.gates(), config.hidden);
        if hidden == 0 || config.layers == 0 {
            let message = format!("{} layers of {hidden} hidden features make no network", config.layers);
            return Err(Error::argument("rnn", message));
        }
        let bound = 1.0 / (hidden as f64).sqrt();
        let init = Init::Uniform { low: -bound, high: bound };
        let directions = 1 + usize::from(config.bidirectional);
        let mut cells = Vec::with_capacity(config.layers * directions);
        for layer in 0..config.layers {
            let inputs = if layer == 0 { config.inputs } else { hidden * directions };
            for suffix in ["", "_reverse"].iter().take(directions) {
                let name = |what: &str| format!("{what}_l{layer}{suffix}");
                cells.push(Cell {
                    weight_ih: params.param(&name("weight_ih"), [gates * hidden, inputs], init)?,
                    weight_hh: params.param(&name("weight_hh"), [gates * hidden, hidden], init)?,
                    bias_ih: params.param(&name("bias_ih"), [gates * hidden], init)?,
                    bias_hh: params.param(&name("bias_hh"), [gates * hidden], init)?,
                });
            }
        }
        Ok(Rnn { config, cells, dropout: Dropout::new(config.dropout)? })
    }

    /// The whole sequence from a starting state `(hidden, cell)`, each (layers · directions, B, hidden); zeros if
    /// absent. The cell state belongs to an LSTM only.
    pub fn run(&self, x: &Tensor, start: Option<(&Tensor, Option<&Tensor>)>, ctx: &mut Ctx) -> Result<RnnOutput> {
        if x.rank() != 3 || x.dims()[2] != self.config.inputs {
            let axes = if self.config.batch_first { "(B, T, " } else { "(T, B, " };
            return Err(Error::shape("rnn", format!("a sequence {axes}{})", self.config.inputs), &[*x.shape()]));
        }
        // Inside, time comes first.
        let mut x = if self.config.batch_first { x.transpose(0, 1)? } else { x.clone() };
        let (steps, batch) = (x.dims()[0], x.dims()[1]);
        if steps == 0 {
            return Err(Error::shape("rnn", "a sequence of at least one step", &[*x.shape()]));
        }
        let directions = 1 + usize::from(self.config.bidirectional);
        let zeros = Tensor::zeros([batch, self.config.hidden], x.dtype(), x.device())?;
        let begin = |state: Option<&Tensor>, i: usize| match state {
            Some(state) => state.narrow(0, i, 1)?.reshape([batch, self.config.hidden]),
            None => Ok(zeros.clone()),
        };
        let (mut last_hidden, mut last_cell) = (vec![], vec![]);
        for layer in 0..self.config.layers {
            if layer > 0 {
                x = self.dropout.forward(&x, ctx)?;
            }
            let mut outputs = Vec::with_capacity(directions);
            for direction in 0..directions {
                let i = layer * directions + direction;
                let hidden = begin(start.map(|s| s.0), i)?;
                let cell = begin(start.and_then(|s| s.1), i)?;
                let (output, hidden, cell) = self.walk(&self.cells[i], &x, hidden, cell, direction == 1)?;
                outputs.push(output);
                last_hidden.push(hidden);
                last_cell.push(cell);
            }
            x = if directions == 1 { outputs.remove(0) } else { Tensor::cat(&outputs.iter().collect::<Vec<_>>(), 2)? };
        }
        let stack = |parts: &[Tensor]| Tensor::stack(&parts.iter().collect::<Vec<_>>(), 0);
        Ok(RnnOutput {
            output: if self.config.batch_first { x.transpose(0, 1)? } else { x },
            hidden: stack(&last_hidden)?,
            cell: if self.config.kind == RnnKind::Lstm { Some(stack(&last_cell)?) } else { None },
        })
    }

    /// One layer in one direction over (T, B, inputs): outputs (T, B, hidden) and the last state.
    fn walk(
        &self,
        cell: &Cell,
        x: &Tensor,
        mut h: Tensor,
        mut c: Tensor,
        reverse: bool,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (steps, batch) = (x.dims()[0], x.dims()[1]);
        let width = self.config.kind.gates() * self.config.hidden;
        // All steps' input products at once; only the recurrent one must wait for the step before.
        let projected = x.linear(&cell.weight_ih.tensor(), Some(&cell.bias_ih.tensor()))?;
        let (weight, bias) = (cell.weight_hh.tensor(), cell.bias_hh.tensor());
        let mut outputs = Vec::with_capacity(steps);
        for i in 0..steps {
            let step = if reverse { steps - 1 - i } else { i };
            let from_x = projected.narrow(0, step, 1)?.reshape([batch, width])?;
            let from_h = h.linear(&weight, Some(&bias))?;
            (h, c) = self.step(&from_x, &from_h, &h, &c)?;
            outputs.push(h.clone());
        }
        if reverse {
            outputs.reverse();
        }
        Ok((Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 0)?, h, c))
    }

    fn step(&self, from_x: &Tensor, from_h: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = self.config.hidden;
        let part = |t: &Tensor, i: usize| t.narrow(1, i * n, n);
        match self.config.kind {
            RnnKind::Tanh => Ok((from_x.add(from_h)?.tanh()?, c.clone())),
            RnnKind::Relu => Ok((from_x.add(from_h)?.relu()?, c.clone())),
            RnnKind::Lstm => {
                let sum = from_x.add(from_h)?;
                let (input, forget) = (part(&sum, 0)?.sigmoid()?, part(&sum, 1)?.sigmoid()?);
                let (candidate, output) = (part(&sum, 2)?.tanh()?, part(&sum, 3)?.sigmoid()?);
                let c = forget.mul(c)?.add(&input.mul(&candidate)?)?;
                Ok((output.mul(&c.tanh()?)?, c))
            }
            RnnKind::Gru => {
                let reset = part(from_x, 0)?.add(&part(from_h, 0)?)?.sigmoid()?;
                let update = part(from_x, 1)?.add(&part(from_h, 1)?)?.sigmoid()?;
                let candidate = part(from_x, 2)?.add(&reset.mul(&part(from_h, 2)?)?)?.tanh()?;
                // (1 − z) n + z h, with one product less.
                Ok((candidate.add(&update.mul(&h.sub(&candidate)?)?)?, c.clone()))
            }
        }
    }
}

impl Module for Rnn {
    /// The outputs of every step, from a state of zeros.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        Ok(self.run(x, None, ctx)?.output)
    }
}
