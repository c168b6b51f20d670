//! Compiles and embeds the kernels.

fn main() -> warpsmith_build::Result<()> {
    warpsmith_build::Kernels::new().folder("kernels").images("images").build()
}
