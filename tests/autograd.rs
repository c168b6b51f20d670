//! The tape: what is recorded, what a backward gives, what it frees, and what it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use warpsmith::autograd::{Backward, BackwardCtx, Gradient, Op, checkpoint, grad_enabled, record, record_opaque};
use warpsmith::{DType, Device, Result, Tensor, Var, no_grad};

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, [values.len()], &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().unwrap()
}

#[test]
fn variables_and_tracked_tensors_get_gradients_and_constants_do_not() {
    let w = Var::new(&vector(&[2.0, 3.0])).unwrap();
    let x = vector(&[5.0, 7.0]).track();
    let c = vector(&[1.0, 1.0]);
    let inner = w.mul(&x).unwrap().track();
    let loss = inner.add(&c).unwrap().mul(&inner).unwrap().sum_all().unwrap();
    assert!(loss.requires_grad() && inner.requires_grad() && !c.requires_grad());
    let gradients = loss.backward().unwrap();
    assert_eq!(values(&gradients.expect(&inner).unwrap()), [21.0, 43.0]); // 2·inner + 1
    assert_eq!(values(&gradients.expect(&w).unwrap()), [105.0, 301.0]);
    assert_eq!(values(&gradients.expect(&x).unwrap()), [42.0, 129.0]);
    assert!(gradients.get(&c).unwrap().is_none());
    assert_eq!(gradients.len(), 3);
    let message = gradients.expect(&c).unwrap_err().to_string();
    assert!(message.starts_with("gradients: the backward did not reach"), "{message}");
}

#[test]
fn a_value_used_often_sums_its_gradients() {
    let x = vector(&[3.0]).track();
    let square = x.mul(&x).unwrap();
    let sum = square.add(&square).unwrap().add(&x).unwrap();
    assert_eq!(values(&sum.backward().unwrap().expect(&x).unwrap()), [13.0]);
}

#[test]
fn clones_of_a_variable_are_the_same_variable() {
    let w = Var::new(&vector(&[2.0])).unwrap();
    let other = w.clone();
    assert!(w.same(&other));
    let gradients = other.mul(&w).unwrap().backward().unwrap();
    assert_eq!(values(&gradients.expect(&w).unwrap()), [4.0]);
    other.set(&vector(&[9.0])).unwrap();
    assert_eq!(values(&w), [9.0]);
    let before = w.snapshot().unwrap();
    w.set(&vector(&[1.0])).unwrap();
    assert_eq!(values(&before), [9.0]);
}

#[test]
fn what_cannot_be_differentiated_is_not_recorded() {
    let x = vector(&[1.0, 2.0]).track();
    assert!(!x.argmax(0).unwrap().requires_grad());
    assert!(!x.any(&[0]).unwrap().requires_grad());
    assert!(!x.detach().mul(&x.detach()).unwrap().requires_grad());
    let integers = Tensor::from_slice(&[1i64], [1], &Device::Cpu).unwrap();
    assert!(!integers.track().requires_grad());
    assert!(Var::new(&integers).unwrap_err().to_string().contains("a float dtype, got i64"));
    assert!(!no_grad(|| x.neg().unwrap()).requires_grad());
    assert!(!no_grad(grad_enabled) && grad_enabled());
}

#[test]
fn no_grad_ends_with_a_panic_too() {
    let caught = std::panic::catch_unwind(|| no_grad(|| panic!("inside")));
    assert!(caught.is_err() && grad_enabled());
}

#[test]
fn detach_cuts_the_graph() {
    let x = vector(&[3.0]).track();
    let y = x.mul(&x.detach()).unwrap();
    assert_eq!(values(&y.backward().unwrap().expect(&x).unwrap()), [3.0]);
    let message = x.detach().backward().unwrap_err().to_string();
    assert!(message.contains("has no graph"), "{message}");
}

#[test]
fn hooks_see_and_change_gradients() {
    let seen = Arc::new(parking_lot::Mutex::new(vec![]));
    let log = seen.clone();
    let x = vector(&[3.0]).track();
    let hooked = x.hook(move |g| {
        log.lock().push(g.item::<f64>()?);
        g.affine(10.0, 0.0)
    });
    let y = hooked.unwrap().mul(&x).unwrap();
    assert_eq!(values(&y.backward().unwrap().expect(&x).unwrap()), [33.0]);
    assert_eq!(*seen.lock(), [3.0]);
    // A hook must keep the shape.
    let wrong = x.hook(|g| g.reshape(())).unwrap();
    let message = wrong.backward_with(&vector(&[1.0])).unwrap_err().to_string();
    assert!(message.starts_with("hook: expected a gradient of the input's shape [1]"), "{message}");
}

#[test]
fn backward_with_takes_a_gradient_of_the_root() {
    let x = vector(&[1.0, 2.0, 3.0]).track();
    let y = x.mul(&x).unwrap();
    let message = y.backward().unwrap_err().to_string();
    assert!(message.contains("one element (backward_with takes a gradient for other shapes), got [3]"), "{message}");
    let message = y.backward_with(&vector(&[1.0])).unwrap_err().to_string();
    assert!(message.contains("shape [3], got [1]"), "{message}");
    let half = Tensor::ones([3], DType::F32, &Device::Cpu).unwrap();
    assert!(y.backward_with(&half).unwrap_err().to_string().contains("dtype f64, got f32"));
    let gradients = y.backward_with(&vector(&[1.0, 10.0, 100.0])).unwrap();
    assert_eq!(values(&gradients.expect(&x).unwrap()), [2.0, 40.0, 600.0]);
}

#[test]
fn gradients_accumulate_and_are_replaced() {
    let w = Var::new(&vector(&[2.0])).unwrap();
    let v = Var::new(&vector(&[5.0])).unwrap();
    let mut sum = w.mul(&w).unwrap().backward().unwrap();
    sum.accumulate(w.mul(&v).unwrap().backward().unwrap()).unwrap();
    assert_eq!(values(&sum.expect(&w).unwrap()), [9.0]);
    assert_eq!(values(&sum.expect(&v).unwrap()), [2.0]);
    sum.set(&w, vector(&[1.0])).unwrap();
    assert_eq!(values(&sum.expect(&w).unwrap()), [1.0]);
    assert!(sum.set(&w, vector(&[1.0, 2.0])).unwrap_err().to_string().contains("shape [1], got [2]"));
    assert!(matches!(sum.take(&w), Some(Gradient::Dense(_))));
    assert!(sum.get(&w).unwrap().is_none() && sum.len() == 1 && !sum.is_empty());
}

#[test]
fn a_graph_is_walked_once_unless_retained() {
    let x = vector(&[3.0]).track();
    let y = x.mul(&x).unwrap();
    let keep = Backward::new().retain_graph();
    for _ in 0..3 {
        assert_eq!(values(&keep.run(&y).unwrap().expect(&x).unwrap()), [6.0]);
    }
    assert_eq!(values(&y.backward().unwrap().expect(&x).unwrap()), [6.0]);
    let message = y.backward().unwrap_err().to_string();
    assert_eq!(message, "mul: the graph was freed by an earlier backward; use Backward::retain_graph to walk it again");
}

#[test]
fn an_overwritten_variable_is_an_error_that_names_it() {
    let w = Var::named("layer1.weight", &vector(&[2.0])).unwrap();
    let x = vector(&[3.0]).track();
    let y = w.mul(&x).unwrap();
    w.set(&vector(&[4.0])).unwrap();
    let message = y.backward().unwrap_err().to_string();
    assert!(message.starts_with("mul: layer1.weight was overwritten after the forward"), "{message}");
    // What saved no value does not mind; a snapshot is safe.
    let y = w.add(&x).unwrap();
    let z = w.snapshot().unwrap().mul(&x).unwrap();
    w.update(|buffer| {
        buffer.as_mut_slice::<f64>()?.fill(0.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(values(&y.backward().unwrap().expect(&w).unwrap()), [1.0]);
    assert_eq!(values(&z.backward().unwrap().expect(&x).unwrap()), [4.0]);
    // A view of the variable is the variable.
    let y = w.reshape(()).unwrap().mul(&x).unwrap();
    w.set(&vector(&[1.0])).unwrap();
    assert!(y.backward().unwrap_err().to_string().contains("layer1.weight"));
}

#[test]
fn an_output_without_a_backward_is_an_error_not_a_silent_constant() {
    let x = vector(&[1.0]).track();
    let out = || vector(&[2.0]);
    let message = record_opaque("fused thing", out(), &[&x]).unwrap_err().to_string();
    assert_eq!(message, "fused thing: has no backward; call it under no_grad, or detach its inputs");
    assert!(record_opaque("fused thing", out(), &[&x.detach()]).is_ok());
    assert!(no_grad(|| record_opaque("fused thing", out(), &[&x])).is_ok());
    let integers = Tensor::from_slice(&[1i64], [1], &Device::Cpu).unwrap();
    assert!(record_opaque("argmax", integers, &[&x]).is_ok());
}

#[test]
fn second_derivatives_of_composed_operations() {
    // d²/dx² of x³ = 6x, and mixed derivatives through division: d/dy d/dx (x/y) = −1/y².
    let x = vector(&[2.0]).track();
    let cube = x.mul(&x).unwrap().mul(&x).unwrap();
    let first = Backward::new().create_graph().run(&cube).unwrap().expect(&x).unwrap();
    assert_eq!(values(&first), [12.0]);
    let second = Backward::new().create_graph().run(&first).unwrap().expect(&x).unwrap();
    assert_eq!(values(&second), [12.0]);
    let third = second.backward().unwrap().expect(&x).unwrap();
    assert_eq!(values(&third), [6.0]);
    let y = vector(&[4.0]).track();
    let dx = Backward::new().create_graph().run(&x.div(&y).unwrap()).unwrap().expect(&x).unwrap();
    assert_eq!(values(&dx.backward().unwrap().expect(&y).unwrap()), [-1.0 / 16.0]);
}

/// ∂/∂x Σ w·(∂y/∂x), by automatic and by central differences.
fn check_second(name: &str, start: &[f64], f: impl Fn(&Tensor) -> Result<Tensor>) {
    let first = |x: &Tensor, create: bool| -> Result<Tensor> {
        let y = f(x)?.sum_all()?;
        let walk = if create { Backward::new().create_graph() } else { Backward::new() };
        let weights = Tensor::linspace(0.5, 1.5, x.numel(), DType::F64, &Device::Cpu)?;
        walk.run(&y)?.expect(x)?.mul(&weights)?.sum_all()
    };
    let x = vector(start).track();
    let found = first(&x, true).and_then(|y| y.backward()).and_then(|g| g.expect(&x)).unwrap();
    for (i, found) in values(&found).into_iter().enumerate() {
        let at = |h: f64| {
            let mut moved = start.to_vec();
            moved[i] += h;
            first(&vector(&moved).track(), false).unwrap().item::<f64>().unwrap()
        };
        let expected = (8.0 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3;
        assert!((found - expected).abs() < 1e-8 * (1.0 + expected.abs()), "{name}[{i}]: {found} instead of {expected}");
    }
}

#[test]
fn second_derivatives_against_differences() {
    let at = [0.5, -1.25, 2.0, 0.75];
    let square = |x: &Tensor| x.mul(x);
    check_second("mean", &at, |x| square(&x.mul(&x.mean_keepdim(&[0])?)?));
    check_second("var", &at, |x| square(&x.var(&[0], 1.0)?));
    check_second("std", &at, |x| x.std(&[0], 1.0)?.mul(x));
    check_second("norm2", &at, |x| x.norm2(&[0]));
    check_second("amax", &at, |x| square(&x.amax(&[0])?));
    check_second("max", &at, |x| square(&x.max(0)?.0));
    check_second("sort", &at, |x| x.sort(0, true)?.0.mul(&square(x)?));
    check_second("cumsum", &at, |x| square(&x.cumsum(0)?));
    check_second("reshape", &at, |x| square(&x.reshape([2, 2])?.permute(&[1, 0])?.expand([3, 2, 2])?));
    check_second("slice", &at, |x| square(&x.narrow(0, 1, 2)?)?.mul(&x.slice(&warpsmith::s![..; 2])?));
    check_second("slice_assign", &at, |x| {
        square(&x.slice_assign(&warpsmith::s![1..3], &square(&x.narrow(0, 0, 2)?)?)?)
    });
    check_second("cat", &at, |x| square(&Tensor::cat(&[x.clone(), square(x)?], 0)?));
    check_second("pad", &at, |x| square(&x.pad(&[(1, 2)], 3.0)?));
    check_second("repeat", &at, |x| square(&x.repeat(&[2, 3])?));
    check_second("flip", &at, |x| x.flip(&[0])?.mul(&square(x)?));
    check_second("tril", &at, |x| square(&x.reshape([2, 2])?.tril(0)?));
    let index = Tensor::from_slice(&[3i64, 0, 3], [3], &Device::Cpu).unwrap();
    check_second("gather", &at, |x| square(&x.gather(0, &index)?));
    check_second("scatter_add", &at, |x| square(&x.scatter_add(0, &index, &x.narrow(0, 0, 3)?)?));
    check_second("index_select", &at, |x| square(&x.index_select(0, &index)?));
    check_second("index_add", &at, |x| square(&x.index_add(0, &index, &x.narrow(0, 0, 3)?)?));
    check_second("embedding", &at, |x| square(&x.reshape([4, 1])?.embedding(&index)?));
}

#[test]
fn a_table_that_is_a_leaf_has_second_derivatives() {
    let table = Var::new(&vector(&[2.0, 3.0])).unwrap();
    let ids = Tensor::from_slice(&[1i64, 1], [2], &Device::Cpu).unwrap();
    let rows = table.embedding(&ids).unwrap();
    let y = rows.mul(&rows).unwrap().mul(&rows).unwrap().sum_all().unwrap();
    let first = Backward::new().create_graph().run(&y).unwrap().expect(&table).unwrap();
    assert_eq!(values(&first), [0.0, 54.0]);
    assert_eq!(values(&first.sum_all().unwrap().backward().unwrap().expect(&table).unwrap()), [0.0, 36.0]);
}

#[test]
fn a_fused_backward_refuses_a_second_derivative_by_name() {
    let x = vector(&[1.0, 2.0]).track();
    type Function = fn(&Tensor) -> Result<Tensor>;
    let cases: [(&str, Function); 4] = [
        ("backward of prod", |x| x.prod_all()),
        ("backward of cumprod", |x| x.cumprod(0)?.sum_all()),
        ("backward of norm1", |x| x.norm1_all()),
        ("backward of logsumexp", |x| x.logsumexp_all()),
    ];
    for (name, f) in cases {
        let message = Backward::new().create_graph().run(&f(&x).unwrap()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: has no backward")), "{message}");
        assert!(f(&x).unwrap().backward().is_ok());
    }
}

#[test]
fn checkpoints_recompute_and_reach_captured_variables() {
    let w = Var::named("w", &vector(&[2.0, 3.0])).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let layer = |w: Var, runs: Arc<AtomicUsize>| {
        move |x: &[Tensor]| {
            runs.fetch_add(1, Ordering::Relaxed);
            x[0].mul(&w)?.mul(&x[0])?.mul(&x[1])
        }
    };
    let (x, z) = (vector(&[5.0, 7.0]).track(), vector(&[1.0, 2.0]).track());
    let plain = layer(w.clone(), runs.clone())(&[x.clone(), z.clone()]).unwrap().sum_all().unwrap();
    let expected = plain.backward().unwrap();
    let y = checkpoint(&[x.clone(), z.clone()], layer(w.clone(), runs.clone())).unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    let y = y.add(&w).unwrap().sum_all().unwrap(); // the variable is used outside as well
    let found = y.backward().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    for t in [&x, &z] {
        assert_eq!(values(&found.expect(t).unwrap()), values(&expected.expect(t).unwrap()));
    }
    let with_outside: Vec<f64> = values(&expected.expect(&w).unwrap()).iter().map(|v| v + 1.0).collect();
    assert_eq!(values(&found.expect(&w).unwrap()), with_outside);
    // Inside one another, and with nothing tracked but what is captured.
    let (inner, count) = (w.clone(), runs.clone());
    let nested = checkpoint(&[vector(&[5.0, 7.0]), vector(&[1.0, 2.0])], move |x| {
        checkpoint(x, layer(inner.clone(), count.clone()))
    });
    let gradients = nested.unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(&gradients.expect(&w).unwrap()), values(&expected.expect(&w).unwrap()));
    // A variable overwritten in between would give the gradient of another function.
    let y = checkpoint(std::slice::from_ref(&x), |x| x[0].mul(&x[0])).unwrap().sum_all().unwrap();
    let message = Backward::new().create_graph().run(&y).unwrap_err().to_string();
    assert!(message.starts_with("backward of checkpoint: has no backward"), "{message}");
    assert!(!no_grad(|| checkpoint(&[x], |x| x[0].neg())).unwrap().requires_grad());
}

/// An identity that counts how many of its like are alive.
struct Counted {
    alive: Arc<AtomicUsize>,
    most_alive_in_backward: Arc<AtomicUsize>,
    position: usize,
}

impl Op for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        // Those after this one in the forward are walked and freed before.
        let beyond = self.alive.load(Ordering::Relaxed) - (self.position + 1);
        self.most_alive_in_backward.fetch_max(beyond, Ordering::Relaxed);
        Ok(vec![Some(grad.into())])
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_saved_is_freed_as_the_walk_goes() {
    let (alive, beyond) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let x = vector(&[1.0]).track();
    let chain = || {
        (0..50).fold(x.clone(), |y, position| {
            alive.fetch_add(1, Ordering::Relaxed);
            let op = || Counted { alive: alive.clone(), most_alive_in_backward: beyond.clone(), position };
            record(y.detach(), &[&y], op).unwrap()
        })
    };
    let y = chain();
    assert_eq!(alive.load(Ordering::Relaxed), 50);
    y.backward().unwrap();
    assert_eq!((alive.load(Ordering::Relaxed), beyond.load(Ordering::Relaxed)), (0, 0));
    // Retained, everything stays until the root goes.
    let y = chain();
    Backward::new().retain_graph().run(&y).unwrap();
    assert_eq!((alive.load(Ordering::Relaxed), beyond.load(Ordering::Relaxed)), (50, 49));
    drop(y);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// On a stack of 256 kB, where a recursion of 100,000 would overflow even with tiny frames.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(f).unwrap().join().unwrap();
}

#[test]
fn a_chain_of_100_000_nodes_neither_overflows_in_the_walk_nor_in_the_drop() {
    on_a_small_stack(|| {
        let x = vector(&[1.0]).track();
        let chain = || (0..100_000).fold(x.clone(), |y, _| y.affine(1.0, 1e-5).unwrap());
        let y = chain();
        assert_eq!(values(&y.backward().unwrap().expect(&x).unwrap()), [1.0]);
        drop(y);
        drop(chain()); // never walked
        // A chain of diamonds: every node has two inputs.
        let z = (0..100_000).fold(x.clone(), |y, _| y.sub(&y.detach()).unwrap().add(&y).unwrap());
        drop(z);
    });
}

#[test]
fn tensors_and_gradients_cross_threads() {
    fn sends<T: Send + Sync>() {}
    sends::<Tensor>();
    sends::<Var>();
    sends::<warpsmith::Gradients>();
    sends::<warpsmith::Error>();
    let w = Var::new(&vector(&[2.0])).unwrap();
    let threads: Vec<_> = (1..=4)
        .map(|k| {
            let w = w.clone();
            std::thread::spawn(move || {
                let y = w.mul(&w).unwrap().affine(k as f64, 0.0).unwrap();
                std::thread::spawn(move || y.backward().unwrap()).join().unwrap()
            })
        })
        .collect();
    let mut total = warpsmith::Gradients::default();
    for thread in threads {
        total.accumulate(thread.join().unwrap()).unwrap();
    }
    assert_eq!(values(&total.expect(&w).unwrap()), [40.0]);
    // A thread that records nothing does not stop another that does.
    no_grad(|| {
        let recorded = std::thread::spawn(|| vector(&[1.0]).track().neg().unwrap().requires_grad()).join().unwrap();
        assert!(recorded && !w.neg().unwrap().requires_grad());
    });
}

#[test]
fn wrong_gradients_are_refused_by_name() {
    struct Wrong(fn(Tensor) -> Vec<Option<Gradient>>);
    impl Op for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
            Ok((self.0)(grad))
        }
    }
    let x = vector(&[1.0, 2.0]).track();
    let message = |f: fn(Tensor) -> Vec<Option<Gradient>>| {
        let y = record(x.detach(), &[&x], || Wrong(f)).unwrap();
        y.backward_with(&vector(&[1.0, 1.0])).unwrap_err().to_string()
    };
    assert_eq!(message(|_| vec![]), "wrong: returned 0 gradients for 1 inputs");
    assert!(
        message(|g| vec![Some(g.sum_all().unwrap().into())])
            .starts_with("wrong: expected a gradient of the input's shape [2]")
    );
    let half = |_| vec![Some(Tensor::ones([2], DType::F32, &Device::Cpu).unwrap().into())];
    assert!(message(half).starts_with("wrong: expected a gradient of the input's dtype f64"));
    // None is a gradient of zero: nothing is reached.
    let y = record(x.detach(), &[&x], || Wrong(|_| vec![None])).unwrap();
    assert!(y.backward_with(&vector(&[1.0, 1.0])).unwrap().is_empty());
}
