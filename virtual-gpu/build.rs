//! Finds the driver's entry points, writes the tables that need all of them, names the shared object and the build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");

    let driver = root.join("src/driver");
    let mut implemented = BTreeSet::new();
    for path in files(&driver)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            fs::read_to_string(&path)?.lines().for_each(|line| collect(line, &mut implemented));
        }
    }
    let listed = fs::read_to_string(driver.join("names.txt"))?;
    let missing: Vec<&str> = listed.lines().filter(|name| !implemented.contains(*name)).collect();
    let mut all: BTreeSet<&str> = implemented.iter().map(String::as_str).collect();
    all.extend(&missing);
    fs::write(out.join("unimplemented.rs"), format!("unimplemented_names! {{ {} }}\n", missing.join(" ")))?;
    let all: Vec<&str> = all.into_iter().collect();
    fs::write(out.join("exports.rs"), format!("exported_names! {{ {} }}\n", all.join(" ")))?;

    // What the loader hands to a program that asks for libcuda.so; never unloaded, because its threads live in it.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    println!("cargo::rustc-env=VIRTUAL_GPU_BUILD={:016x}", build_id(&root, &out)?);
    println!("cargo::rustc-env=VIRTUAL_GPU_OUT_DIR={}", out.display());
    Ok(())
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The entry points that a line defines: a function, or a row of one of the tables whose macros define some
/// (`name, async_name, ...;` and `name_ptsz = name(...);`).
fn collect(line: &str, names: &mut BTreeSet<String>) {
    let line = line.trim();
    let is_name = |word: &str| {
        word.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if let Some(rest) = line.strip_prefix("extern \"C\" fn ") {
        let name = rest.split('(').next().unwrap_or("");
        if is_name(name) {
            names.insert(name.to_owned());
        }
    } else if line.starts_with("cu") && line.ends_with(';') {
        let words = line.split([',', ' ', '(']).map(str::trim);
        names.extend(words.take_while(|word| *word != "=").filter(|word| is_name(word)).map(str::to_owned));
    }
}

/// A hash of all sources and of where the build is, which tells builds with other features or profiles apart (FNV-1a).
fn build_id(root: &Path, out: &Path) -> io::Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for path in files(&root.join("src"))? {
        add(&fs::read(path)?);
    }
    add(out.as_os_str().as_encoded_bytes());
    Ok(hash)
}
