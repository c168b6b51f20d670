//! Compiles and embeds the kernels; where there is no NVRTC, takes the images that the crate carries.

fn main() -> warpsmith_build::Result<()> {
    warpsmith_build::Kernels::new().folder("kernels").images("images").build()
}
