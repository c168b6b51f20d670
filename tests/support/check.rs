//! The check of one operation: forward against its f64 definition in every float dtype and several layouts, gradcheck
//! in f64, backward in every dtype against the f64 one; and then the check of the check: with each gradient that
//! flowed removed, zeroed or slightly bent in turn, in every dtype, it must fail. On CUDA devices the same in the dtypes
//! that they have; the check of the check only where the CPU is not under test, and in f32.

use super::devices::{self, CUDA_FLOATS, Gpu};
use super::record::{self, ratio};
use super::{Array, Random};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use warpsmith::autograd::{BackwardEvent, Gradient, intercept};
use warpsmith::{DType, Device, Element, Error, Result, Tensor, with_dtype};

type Forward = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;
type Reference = Box<dyn Fn(&[Array]) -> Array>;
type GradientMagnitude = Box<dyn Fn(&[Array], &Array) -> Vec<Array>>;

/// Where an input's values are drawn from.
#[derive(Clone, Debug)]
pub enum Domain {
    /// Uniform in an interval.
    Range(f64, f64),
    /// Uniform in an interval but at least `margin` away from each point: kinks and poles.
    Avoid { range: (f64, f64), points: Vec<f64>, margin: f64 },
    /// A shuffled grid over an interval: distinct values, for max, sort and the like.
    Distinct(f64, f64),
}

impl Domain {
    fn draw(&self, n: usize, random: &mut Random) -> Vec<f64> {
        match self {
            Domain::Range(low, high) => (0..n).map(|_| random.range(*low, *high)).collect(),
            Domain::Avoid { range: (low, high), points, margin } => (0..n)
                .map(|_| {
                    loop {
                        let x = random.range(*low, *high);
                        if points.iter().all(|p| (x - p).abs() >= *margin) {
                            break x;
                        }
                    }
                })
                .collect(),
            Domain::Distinct(low, high) => {
                let mut values: Vec<f64> = (0..n).map(|i| low + (high - low) * i as f64 / n.max(2) as f64).collect();
                for i in (1..n).rev() {
                    values.swap(i, random.below(i + 1));
                }
                values
            }
        }
    }
}

/// How often a value is rounded to f16 or bf16 on its way through an operation; everything else happens in f32.
const ROUNDINGS: f64 = 4.0;

/// The error that `ulps` roundings may cause, relative to the magnitude.
fn error_of(ulps: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 | DType::BF16 => ulps.min(ROUNDINGS) * dtype.unit_roundoff() + ulps * DType::F32.unit_roundoff(),
        _ => ulps * dtype.unit_roundoff(),
    }
}

/// An operation under test.
pub struct OpCheck {
    name: String,
    inputs: Vec<(Vec<usize>, Domain)>,
    constants: Vec<bool>,
    forward: Forward,
    reference: Reference,
    magnitude: Option<Reference>,
    gradient_magnitude: Option<GradientMagnitude>,
    /// Forward error allowed, in unit roundoffs (see [`error_of`]) times the magnitude of the result.
    ulps: f64,
    /// Backward error allowed, in unit roundoffs times Σ|∂y/∂x|·|upstream|.
    grad_ulps: f64,
    dtypes: Vec<DType>,
    differentiable: bool,
    silent: Vec<(&'static str, usize)>,
    cpu_only: bool,
}

impl OpCheck {
    /// An operation with no inputs yet. Defaults: every float dtype, 2 roundoffs forward and backward, domain [-2, 2].
    pub fn new(
        name: &str,
        forward: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
        reference: impl Fn(&[Array]) -> Array + 'static,
    ) -> Self {
        OpCheck {
            name: name.to_owned(),
            inputs: vec![],
            constants: vec![],
            forward: Box::new(forward),
            reference: Box::new(reference),
            magnitude: None,
            gradient_magnitude: None,
            ulps: 2.0,
            grad_ulps: 2.0,
            dtypes: vec![DType::F64, DType::F32, DType::F16, DType::BF16],
            differentiable: true,
            silent: vec![],
            cpu_only: false,
        }
    }

    pub fn input(self, dims: &[usize]) -> Self {
        self.input_in(dims, Domain::Range(-2.0, 2.0))
    }

    pub fn input_in(mut self, dims: &[usize], domain: Domain) -> Self {
        self.inputs.push((dims.to_vec(), domain));
        self.constants.push(false);
        self
    }

    /// An input that the operation has no gradient for.
    pub fn constant_in(mut self, dims: &[usize], domain: Domain) -> Self {
        self.inputs.push((dims.to_vec(), domain));
        self.constants.push(true);
        self
    }

    /// Forward and backward error allowed, in unit roundoffs of the type that the operation computes in; of those, at
    /// most [`ROUNDINGS`] are taken to be roundings to a narrower storage type.
    pub fn ulps(mut self, forward: f64, backward: f64) -> Self {
        (self.ulps, self.grad_ulps) = (forward, backward);
        self
    }

    /// What the forward bound scales with instead of |result|: Σ|ab| for sums of products.
    pub fn magnitude(mut self, magnitude: impl Fn(&[Array]) -> Array + 'static) -> Self {
        self.magnitude = Some(Box::new(magnitude));
        self
    }

    /// What the backward bound of each input scales with instead of Σ|∂y/∂x|·|upstream|, from the inputs and the
    /// upstream gradient: for operations in whose derivative large terms cancel.
    pub fn gradient_magnitude(mut self, magnitude: impl Fn(&[Array], &Array) -> Vec<Array> + 'static) -> Self {
        self.gradient_magnitude = Some(Box::new(magnitude));
        self
    }

    pub fn dtypes(mut self, dtypes: &[DType]) -> Self {
        self.dtypes = dtypes.to_vec();
        self
    }

    /// No gradient exists: only the forward is checked.
    pub fn forward_only(mut self) -> Self {
        self.differentiable = false;
        self
    }

    /// Something that CUDA devices do not have at all (say what where this is called).
    pub fn on_cpu_only(mut self) -> Self {
        self.cpu_only = true;
        self
    }

    /// A gradient that mathematically does not matter (say why where this is called), so that no fault in it shows.
    pub fn silent(mut self, op: &'static str, input: usize) -> Self {
        self.silent.push((op, input));
        self
    }

    /// For normalisations, whose statistics carry the rounding of a sum of f32 (or f64) that half dtypes, which are
    /// computed in f32 and rounded once, do not feel. Forward: the mean, the scale and the result round once or twice.
    /// Backward: three terms that each carry the statistics' rounding.
    pub fn run_wide_and_half(self) {
        let wide = self.dtypes(&[DType::F64, DType::F32]).ulps(6.0, 24.0);
        wide.run();
        wide.dtypes(&[DType::F16, DType::BF16]).ulps(2.0, 2.0).run();
    }

    /// Runs everything; panics with what differs.
    pub fn run(&self) {
        let mut random = Random::fresh(&self.name);
        let gpus = devices::gpus(random.seed());
        let values = self.draw(&mut random);
        for &dtype in &self.dtypes {
            let on_gpus = if CUDA_FLOATS.contains(&dtype) && !self.cpu_only { gpus } else { &[] };
            if !devices::cpu() && on_gpus.is_empty() {
                continue;
            }
            let case = Case::new(self, dtype, &values, &mut random);
            for gpu in on_gpus {
                self.run_on_gpu(gpu, dtype, &case, &values, &mut random);
            }
            if devices::cpu() {
                let flowed = self.run_on(&Device::Cpu, "cpu", dtype, &case, &[Lay::Plain, Lay::Reversed]);
                if self.differentiable {
                    self.prove_faults_show(&Device::Cpu, dtype, case, &flowed, &mut random);
                }
            }
        }
    }

    /// On a CUDA device; where the CPU is not under test, the check of the check as well.
    fn run_on_gpu(&self, gpu: &Gpu, dtype: DType, case: &Case, values: &[Vec<f64>], random: &mut Random) {
        let flowed = self.run_on(&gpu.device, gpu.name, dtype, case, &[Lay::Plain, Lay::Reversed, Lay::Shifted]);
        if self.differentiable && dtype == DType::F32 && devices::proves() {
            let case = Case::new(self, dtype, values, random);
            self.prove_faults_show(&gpu.device, dtype, case, &flowed, random);
        }
    }

    /// Forward and backward on one device, in some layouts: the gradients that flowed.
    fn run_on(
        &self,
        device: &Device,
        place: &str,
        dtype: DType,
        case: &Case,
        layouts: &[Lay],
    ) -> BTreeSet<(&'static str, usize)> {
        let judge = |what: &str, result: Result<(), Failure>| {
            if let Err(Failure(message)) = result {
                panic!("{} {dtype} on {place}, {what}: {message}{}", self.name, devices::reports())
            }
        };
        for &lay in layouts {
            judge(&format!("forward, {lay:?}"), case.forward(device, lay));
        }
        // Kernels of a backward mostly see what the forward left: on a CUDA device one layout, unless everything is asked for.
        let layouts = match layouts {
            all if *device == Device::Cpu || devices::everything() => all,
            all => {
                let one = case.seed.data.iter().filter(|&&g| g > 0.0).count() % all.len();
                &all[one..=one]
            }
        };
        let flowed = Rc::new(RefCell::new(BTreeSet::new()));
        if !self.differentiable {
            return BTreeSet::new();
        }
        let seen = flowed.clone();
        let note = move |event: BackwardEvent| {
            if event.gradient.is_some() {
                seen.borrow_mut().insert((event.op, event.input));
            }
            Ok(event.gradient)
        };
        intercept(note, || {
            for &lay in layouts {
                judge(&format!("backward, {lay:?}"), case.backward(device, lay));
            }
        });
        let flowed = flowed.borrow().clone();
        let empty = case.inputs.iter().all(|input| input.data.is_empty());
        assert!(!flowed.is_empty() || empty, "{} {dtype} on {place}: no gradient flowed", self.name);
        flowed
    }

    fn draw(&self, random: &mut Random) -> Vec<Vec<f64>> {
        self.inputs.iter().map(|(dims, domain)| domain.draw(dims.iter().product(), random)).collect()
    }

    /// Every gradient that flowed, removed, zeroed or bent, must make the backward check fail. Some draws cannot show
    /// it (a relu of one negative number, terms that cancel below their rounding errors), so it may draw again.
    fn prove_faults_show<'a>(
        &'a self,
        device: &Device,
        dtype: DType,
        first: Case<'a>,
        flowed: &BTreeSet<(&'static str, usize)>,
        random: &mut Random,
    ) {
        const DRAWS: usize = 24;
        if first.seed.data.is_empty() {
            return;
        }
        let mut cases = vec![first];
        for &(op, input) in flowed {
            if self.silent.contains(&(op, input)) {
                continue;
            }
            for fault in ["removed", "zeroed", "bent"] {
                let noticed = (0..DRAWS).any(|draw| {
                    if draw == cases.len() {
                        cases.push(Case::new(self, dtype, &self.draw(random), random));
                    }
                    cases[draw].backward_with_fault(device, op, input, fault).is_err()
                });
                assert!(noticed, "{}: gradient {input} of {op} in {dtype} {fault}: not noticed", self.name);
                record_fault(&self.name, op, input, dtype, fault);
            }
        }
    }
}

/// Appends to the file named by `WARPSMITH_FAULT_LIST`, from which the list in `docs/` is made.
fn record_fault(check: &str, op: &str, input: usize, dtype: DType, fault: &str) {
    use std::io::Write;
    let Ok(path) = std::env::var("WARPSMITH_FAULT_LIST") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the fault list opens");
    // One write: other tests append at the same time.
    let line = format!("{check}\t{op}\t{input}\t{dtype}\t{fault}\n");
    file.write_all(line.as_bytes()).expect("the fault list is writable");
}

/// How inputs lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lay {
    /// Row-major.
    Plain,
    /// With their axes stored in reverse order.
    Reversed,
    /// Row-major, one element into their buffer.
    Shifted,
}

/// What differs, in words.
struct Failure(String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.to_string())
    }
}

/// One operation on one set of values, rounded to one dtype.
struct Case<'a> {
    check: &'a OpCheck,
    dtype: DType,
    inputs: Vec<Array>,
    expected: Array,
    magnitude: Array,
    /// The upstream gradient, rounded to the dtype.
    seed: Array,
    /// Central differences of the reference, per input: the gradient, and Σ|∂y/∂x|·|upstream|, which its error scales with.
    numeric: Vec<Option<(Array, Array)>>,
}

impl<'a> Case<'a> {
    fn new(check: &'a OpCheck, dtype: DType, values: &[Vec<f64>], random: &mut Random) -> Self {
        let inputs: Vec<Array> = check
            .inputs
            .iter()
            .zip(values)
            .map(|((dims, _), v)| Array::new(dims, v.iter().map(|&x| round(x, dtype)).collect()))
            .collect();
        let expected = (check.reference)(&inputs);
        let magnitude = check.magnitude.as_ref().map_or_else(|| expected.map(f64::abs), |m| m(&inputs));
        // Bounded away from zero, so that a bent gradient shows everywhere.
        let sign = |r: &mut Random| if r.bits() & 1 == 0 { 1.0 } else { -1.0 };
        let seed = expected.data.iter().map(|_| round(sign(random) * random.range(0.5, 1.5), dtype)).collect();
        let seed = Array::new(&expected.dims, seed);
        let numeric = inputs.iter().enumerate().map(|(i, _)| {
            let wanted = check.differentiable && !check.constants[i];
            wanted.then(|| central_differences(check, &inputs, i, &seed))
        });
        let mut numeric: Vec<Option<(Array, Array)>> = numeric.collect();
        if let Some(magnitude) = &check.gradient_magnitude {
            for (numeric, magnitude) in numeric.iter_mut().zip(magnitude(&inputs, &seed)) {
                if let Some(numeric) = numeric {
                    numeric.1 = magnitude;
                }
            }
        }
        Case { check, dtype, inputs, expected, magnitude, seed, numeric }
    }

    fn tensors(&self, device: &Device, lay: Lay, track: bool) -> Result<Vec<Tensor>> {
        let make = |(i, a): (usize, &Array)| {
            let t = match lay {
                Lay::Plain => tensor_on(a, self.dtype, device)?,
                Lay::Reversed => strided(&tensor_on(a, self.dtype, device)?)?,
                Lay::Shifted => shifted(a, self.dtype, device)?,
            };
            Ok(if track && !self.check.constants[i] { t.track() } else { t })
        };
        self.inputs.iter().enumerate().map(make).collect()
    }

    fn forward(&self, device: &Device, lay: Lay) -> Result<(), Failure> {
        let out = (self.check.forward)(&self.tensors(device, lay, false)?)?;
        if out.dims() != self.expected.dims {
            return Err(Failure(format!("shape {:?} instead of {:?}", out.dims(), self.expected.dims)));
        }
        let found = out.to_f64_vec()?;
        let unit = error_of(self.check.ulps, self.dtype);
        let mut worst = 0f64;
        for (i, (&found, &expected)) in found.iter().zip(&self.expected.data).enumerate() {
            let bound = unit * self.magnitude.data[i] + smallest(self.dtype);
            let same = found == expected || found.is_nan() && expected.is_nan();
            if !same && !within((found - expected).abs(), bound) {
                let message = format!("element {i}: {found:e} instead of {expected:e}, bound {bound:e}");
                return Err(Failure(message));
            }
            worst = if same { worst } else { worst.max(ratio((found - expected).abs(), bound)) };
        }
        record::case(&self.check.name, self.dtype, worst);
        Ok(())
    }

    fn backward(&self, device: &Device, lay: Lay) -> Result<(), Failure> {
        let inputs = self.tensors(device, lay, true)?;
        let out = (self.check.forward)(&inputs)?;
        let gradients = out.backward_with(&tensor_on(&self.seed, self.dtype, device)?)?;
        let dense = |x: &Tensor| gradients.get(x)?.map(|g| g.to_f64_vec()).transpose();
        let found = inputs.iter().map(|x| if x.requires_grad() { dense(x) } else { Ok(None) });
        let found = found.collect::<Result<Vec<Option<Vec<f64>>>>>()?;
        for (i, numeric) in self.numeric.iter().enumerate() {
            let Some((numeric, magnitude)) = numeric else { continue };
            let Some(found) = &found[i] else { return Err(Failure(format!("input {i} got no gradient"))) };
            self.compare_gradient(i, found, &numeric.data, &magnitude.data).map_err(Failure)?;
        }
        Ok(())
    }

    fn backward_with_fault(
        &self,
        device: &Device,
        op: &'static str,
        input: usize,
        fault: &'static str,
    ) -> Result<(), Failure> {
        let bend = 1.0 + (32.0 * self.dtype.unit_roundoff()).max(1e-3);
        let plant = move |event: BackwardEvent| {
            let Some(gradient) = event.gradient else { return Ok(None) };
            if (event.op, event.input) != (op, input) {
                return Ok(Some(gradient));
            }
            Ok(match fault {
                "removed" => None,
                "zeroed" => Some(Gradient::Dense(gradient.dense()?.zeros_like()?)),
                _ => Some(Gradient::Dense(gradient.dense()?.affine(bend, 0.0)?)),
            })
        };
        intercept(plant, || self.backward(device, Lay::Plain))
    }

    /// Each element within the bound, and the whole not scaled: a common factor shows in the least-squares slope long
    /// before it shows in single rounded elements.
    fn compare_gradient(&self, input: usize, found: &[f64], expected: &[f64], scale: &[f64]) -> Result<(), String> {
        // Central differences are good to about 1e-10 of the function's scale.
        let unit = error_of(self.check.grad_ulps, self.dtype) + 1e-9;
        let mean = scale.iter().sum::<f64>() / scale.len().max(1) as f64;
        let (mut energy, mut product, mut slack) = (0.0, 0.0, 0.0);
        let mut worst = 0f64;
        for (i, ((&f, &e), &s)) in found.iter().zip(expected).zip(scale).enumerate() {
            let bound = unit * s.max(mean) + smallest(self.dtype) * ROUNDINGS;
            if !within((f - e).abs(), bound) {
                return Err(format!("gradient {input}[{i}]: {f:e} instead of {e:e}, bound {bound:e}"));
            }
            worst = worst.max(ratio((f - e).abs(), bound));
            energy += e * e;
            product += f * e;
            slack += (e * bound).powi(2);
        }
        // Independent errors within their bounds add up like a random walk.
        if energy > 0.0 && (product / energy - 1.0).abs() > 2.0 * slack.sqrt() / energy {
            return Err(format!("gradient {input} is scaled by {}", product / energy));
        }
        record::case(&self.check.name, self.dtype, worst);
        Ok(())
    }
}

fn central_differences(check: &OpCheck, inputs: &[Array], input: usize, seed: &Array) -> (Array, Array) {
    let mut inputs = inputs.to_vec();
    let mut gradient = Array::zeros(&inputs[input].dims);
    let mut magnitude = gradient.clone();
    for i in 0..gradient.data.len() {
        let x = inputs[input].data[i];
        // Fourth-order differences (error h⁴): at h = 1e-3 truncation and rounding are both near 1e-12.
        let h = 1e-3 * x.abs().max(0.25);
        let mut at = |k: f64| {
            inputs[input].data[i] = x + k * h;
            (check.reference)(&inputs).data
        };
        let y = [at(1.0), at(-1.0), at(2.0), at(-2.0)];
        inputs[input].data[i] = x;
        for (j, w) in seed.data.iter().enumerate() {
            let slope = (8.0 * (y[0][j] - y[1][j]) - (y[2][j] - y[3][j])) / (12.0 * h);
            gradient.data[i] += w * slope;
            magnitude.data[i] += (w * slope).abs();
        }
    }
    (gradient, magnitude)
}

/// False for a NaN error.
fn within(error: f64, bound: f64) -> bool {
    error <= bound
}

/// Half of the smallest subnormal: what rounding may do to results near zero.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-25),
        DType::F32 | DType::BF16 => 1e-38,
        _ => 0.0,
    }
}

pub fn round(x: f64, dtype: DType) -> f64 {
    with_dtype!(dtype, T => Element::to_f64(<T as Element>::from_f64(x)))
}

/// A tensor of the CPU device with these values.
pub fn tensor(array: &Array, dtype: DType) -> Result<Tensor> {
    tensor_on(array, dtype, &Device::Cpu)
}

/// A tensor with these values, rounded.
pub fn tensor_on(array: &Array, dtype: DType, device: &Device) -> Result<Tensor> {
    with_dtype!(dtype, T => {
        let values: Vec<T> = array.data.iter().map(|&x| <T as Element>::from_f64(x)).collect();
        Tensor::from_slice(&values, &array.dims, device)
    })
}

/// The same value with its axes stored in reverse order.
pub fn strided(t: &Tensor) -> Result<Tensor> {
    let reversed: Vec<isize> = (0..t.rank() as isize).rev().collect();
    t.permute(&reversed)?.contiguous()?.permute(&reversed)
}

/// A tensor with these values that begins at the second element of its buffer, so that 16-byte accesses do not fit.
pub fn shifted(array: &Array, dtype: DType, device: &Device) -> Result<Tensor> {
    let values = [&[f64::MAX][..], &array.data].concat();
    let all = tensor_on(&Array::new(&[values.len()], values), dtype, device)?;
    all.narrow(0, 1, array.data.len())?.reshape(&array.dims)
}
