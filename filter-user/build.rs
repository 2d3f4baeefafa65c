//! Puts the compiled XDP program where `kernel` includes it from. The program is built by its own
//! toolchain (`cargo xtask build`), so that here it is only copied; where it was not built yet, an
//! empty file stands in its place and the daemon says so when it starts.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=SCHOOLGATE_XDP_OBJECT");
    let object = object_path();
    println!("cargo:rerun-if-changed={}", object.display());
    let bytes = match fs::read(&object) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("schoolgate-xdp"), bytes)
}

/// Where the program is: named by the environment, or where `cargo xtask build` puts it.
fn object_path() -> PathBuf {
    if let Some(path) = env::var_os("SCHOOLGATE_XDP_OBJECT") {
        return path.into();
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    manifest.join("../target/ebpf/bpfel-unknown-none/release/schoolgate-xdp")
}
