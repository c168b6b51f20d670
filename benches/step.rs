//! Whole training steps of the networks and operations in `peers/README.md`.

#[path = "../examples/support/workloads.rs"]
mod workloads;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn networks(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for name in workloads::NAMES {
        let mut workload = workloads::workload(name).expect("a workload");
        if workload.flops.is_some() {
            continue; // products alone are in benches/gemm.rs
        }
        if let Some((batch, _)) = workload.network {
            group.throughput(Throughput::Elements(batch as u64));
        }
        group.bench_function(name, |b| b.iter(|| (workload.step)()));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = networks
}
criterion_main!(benches);
