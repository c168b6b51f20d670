//! Compiles `.cu` files through NVRTC in a build script and embeds the result.
