fn main() -> warpsmith_build::Result<()> {
    warpsmith_build::Kernels::new().file("saxpy.cu").build()
}
