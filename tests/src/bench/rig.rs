//! The program under measurement with its maps, and the program that prepares each iteration.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use aya::maps::MapData;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use filter_common::abi::{FlowSet, HelloSlot};
use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::apply::{Applied, Grace, apply};
use filter_user::kernel::load::{MapSource, Program, load};
use filter_user::kernel::memory::Array;
use filter_user::kernel::tables::Maps;
use filter_user::kernel::{OBJECT, Seed, Sizes, Tables};

/// What the preparing program does before each iteration: `Plan` of `filter-ebpf/src/bench.rs`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plan {
    random: u64,
    restore_flow: u32,
    flow_set: u32,
    restore_hello: u32,
    hello_row: u32,
    number_at: u32,
    number_keep: u32,
    number_bits: u32,
    letters_at: u32,
    frame_len: u32,
    pad: u32,
    flow: [u64; size_of::<FlowSet>() / 8],
    hello: [u64; 8],
    frame: [u64; FRAME_WORDS],
}

/// Words of a frame that are put back at most.
const FRAME_WORDS: usize = 20;

// SAFETY: `repr(C)`, integers and arrays of integers without implicit padding.
unsafe impl aya::Pod for Plan {}

impl Plan {
    /// Does nothing but to be there.
    pub const IDLE: Plan = Plan {
        random: 0x9e37_79b9_7f4a_7c15,
        restore_flow: 0,
        flow_set: 0,
        restore_hello: 0,
        hello_row: 0,
        number_at: 0,
        number_keep: 0,
        number_bits: 0,
        letters_at: 0,
        frame_len: 0,
        pad: 0,
        flow: [0; size_of::<FlowSet>() / 8],
        hello: [0; 8],
        frame: [0; FRAME_WORDS],
    };

    /// Puts the frame back: its length, and its first bytes in whole words.
    #[must_use]
    pub fn frame(mut self, frame: &[u8]) -> Plan {
        self.frame_len = u32::try_from(frame.len()).unwrap_or(0);
        let (words, _) = frame.as_chunks::<8>();
        for (place, word) in self.frame.iter_mut().zip(words) {
            *place = u64::from_le_bytes(*word);
        }
        self
    }

    /// Draws the four bytes at `at`: random but for the bits of `keep`, which are as in `bits`.
    #[must_use]
    pub fn number(mut self, at: u32, keep: u32, bits: u32) -> Plan {
        (self.number_at, self.number_keep, self.number_bits) = (at, keep, bits & keep);
        self
    }

    /// Draws eight letters at `at`.
    #[must_use]
    pub fn letters(mut self, at: u32) -> Plan {
        self.letters_at = at;
        self
    }

    /// Puts a flow's set back.
    #[must_use]
    pub fn flow(mut self, set: u32, words: [u64; size_of::<FlowSet>() / 8]) -> Plan {
        (self.restore_flow, self.flow_set, self.flow) = (1, set, words);
        self
    }

    /// Puts the state of a hello back.
    #[must_use]
    pub fn hello(mut self, row: u32, words: [u64; 8]) -> Plan {
        (self.restore_hello, self.hello_row, self.hello) = (1, row, words);
        self
    }
}

/// A private BPF file system, gone on drop.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Result<Pins> {
        let path = std::env::temp_dir().join(format!("schoolgate-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        let mount = Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(&path)
            .status()?;
        if !mount.success() {
            bail!("cannot mount a BPF file system at {}", path.display());
        }
        Ok(Pins(path))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// Everything loaded, with maps filled.
pub struct Rig {
    /// The filter.
    pub filter: Program,
    /// The empty program.
    pub floor: Program,
    /// The filter's maps.
    pub maps: Maps,
    /// The same, in our memory.
    pub tables: Tables,
    /// What filling took.
    pub applied: Applied,
    prepare: Ebpf,
    plan: Array<Plan>,
    _pins: Pins,
}

/// The benchmark's own object lies beside the filter's.
fn bench_object() -> Result<Vec<u8>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/ebpf/bpfel-unknown-none/release/schoolgate-bench-xdp");
    fs::read(&beside).with_context(|| {
        format!(
            "{} is missing: run `cargo xtask build` first",
            beside.display()
        )
    })
}

impl Rig {
    /// Loads the programs and fills the maps.
    ///
    /// # Errors
    /// If the kernel refuses, or the objects are not built.
    pub fn new(desired: &Desired, seed: Seed) -> Result<Rig> {
        let sizes = Sizes::measure(desired, FlowSizes::default());
        let (filter, maps) = load(OBJECT, "schoolgate", MapSource::New(&sizes))?;
        let tables = Tables::kernel(&maps)?;
        tables.initialise(seed);
        let applied = apply(
            &tables,
            None,
            desired,
            seed,
            Grace::None,
            &|_numbers| Ok(()),
        )?;
        let small = Sizes::measure(&Desired::default(), FlowSizes::default());
        let (floor, _) = load(OBJECT, "floor", MapSource::New(&small))?;
        let pins = Pins::new()?;
        let mut loader = EbpfLoader::new();
        for name in ["FLOWS", "HELLOS"] {
            let map = maps.get(name).context("a map is missing")?;
            let path = pins.0.join(name);
            map.pin(&path)?;
            loader.map_pin_path(name, path);
            loader.map_max_entries(name, map.info()?.max_entries());
        }
        let mut prepare = loader.load(&bench_object()?)?;
        let program: &mut Xdp = prepare
            .program_mut("prepare")
            .context("no program `prepare`")?
            .try_into()?;
        program.load()?;
        let plan = Array::map(map_of(&prepare, "PLAN")?.fd().as_fd(), 1)?;
        Ok(Rig {
            filter,
            floor,
            maps,
            tables,
            applied,
            prepare,
            plan,
            _pins: pins,
        })
    }

    /// Sets what is done before each iteration, and the program that follows.
    ///
    /// # Errors
    /// If the program array cannot be written.
    pub fn prepare(&self, plan: Plan, next: &Program) -> Result<()> {
        self.plan.set(0, plan);
        let array = map_of(&self.prepare, "NEXT")?.fd().as_fd().as_raw_fd();
        set_program(array, next.fd().as_raw_fd())
    }

    /// The preparing program.
    ///
    /// # Errors
    /// If it is not loaded, which `new` has made sure of.
    pub fn preparing(&self) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self
            .prepare
            .program("prepare")
            .context("no program `prepare`")?
            .try_into()?;
        Ok(program.fd()?.as_fd())
    }
}

fn map_of<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(map) | aya::maps::Map::ProgramArray(map)) => Ok(map),
        _ => bail!("the benchmark's object has no map {name}"),
    }
}

/// `BPF_MAP_UPDATE_ELEM` of row 0 of a program array.
fn set_program(array: RawFd, program: RawFd) -> Result<()> {
    const UPDATE: libc::c_int = 2;
    let (key, value) = (0u32, program);
    let mut attr = [0u64; 4];
    attr[0] = u64::try_from(array)?;
    attr[1] = (&raw const key).expose_provenance() as u64;
    attr[2] = (&raw const value).expose_provenance() as u64;
    // SAFETY: the attribute and the key and value it points to live through the call; its size is told.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, UPDATE, attr.as_mut_ptr(), size_of_val(&attr)) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("writing the program array");
    }
    Ok(())
}

/// The words of a flow's set or a hello's state in the maps.
pub fn words<const N: usize, T: aya::Pod>(array: &Array<T>, row: u32) -> [u64; N] {
    let mut words = [0; N];
    if let Some(from) = array.row_words(row) {
        for (to, from) in words.iter_mut().zip(from) {
            *to = from.load(std::sync::atomic::Ordering::Relaxed);
        }
    }
    words
}

const _: () = assert!(size_of::<HelloSlot>() >= 64);
