//! Compiles `.cu` files for the default architectures and prints the table of their kernels.
//!
//! `cargo run -p warpsmith-build --example inspect -- kernels/gemm.cu`

use std::path::{Path, PathBuf};
use warpsmith_build::{DEFAULT_ARCHS, Result, Source};

fn main() -> Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let nvrtc = warpsmith_build::find(&DEFAULT_ARCHS, Some(&target))?;
    println!("NVRTC {:?} from {}", nvrtc.version(), nvrtc.path().display());
    for file in std::env::args_os().skip(1).map(PathBuf::from) {
        let (source, _) = Source::read(&file, &file.to_string_lossy(), &[])?;
        let archs = source.architectures()?.unwrap_or(DEFAULT_ARCHS.to_vec());
        for arch in archs {
            let started = std::time::Instant::now();
            let compiled = warpsmith_build::compile(&nvrtc, &source, arch)?;
            let seconds = started.elapsed().as_secs_f64();
            let sizes: Vec<String> = compiled
                .images
                .iter()
                .map(|image| format!("{:?} {} bytes, {} compressed", image.format, image.len, image.bytes.len()))
                .collect();
            println!("{} for {arch}: {seconds:.2} s, {}{}", source.label, sizes.join(", "), compiled.warnings);
            for kernel in &compiled.kernels {
                let resources = &kernel.resources[0];
                println!(
                    "  {} registers, {} + {} bytes, {} threads: {}",
                    resources.registers,
                    resources.static_shared,
                    resources.local,
                    resources.max_threads,
                    kernel.signature()
                );
            }
        }
    }
    Ok(())
}
