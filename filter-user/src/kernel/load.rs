//! Loads the compiled program with maps of the right sizes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{Map, MapData};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::error::{KernelError, chain};
use super::sizes::Sizes;
use super::tables::{MAP_NAMES, Maps};

/// Name of the program in the object.
pub const PROGRAM: &str = "schoolgate";

/// Facts of a loaded program, by which an operator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Number of this load in the kernel.
    pub id: u32,
    /// Hash of its instructions.
    pub tag: u64,
    /// Instructions that the verifier went through; 0 where the kernel does not tell (before 5.16).
    pub verified_instructions: u32,
    /// Instructions it runs from.
    pub instructions: u32,
}

impl ProgramFacts {
    /// The tag as the kernel's tools print it.
    #[must_use]
    pub fn tag_text(&self) -> String {
        format!("{:016x}", self.tag)
    }
}

/// A loaded program. It stays in the kernel while this, a link or a pin lives.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    facts: ProgramFacts,
}

impl Program {
    /// Facts of it.
    #[must_use]
    pub fn facts(&self) -> ProgramFacts {
        self.facts
    }

    /// Its file descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a pinned program.
    ///
    /// # Errors
    /// If there is none at `path`, or it cannot be read.
    pub fn from_pin(path: &Path) -> Result<Program, KernelError> {
        let fd = super::syscall::open_pin(path)?;
        let info = aya::programs::ProgramInfo::from_pin(path)
            .map_err(KernelError::bpf(format!("reading {}", path.display())))?;
        Ok(Program {
            fd,
            facts: facts(&info),
        })
    }

    fn loaded(program: &Xdp) -> Result<Program, KernelError> {
        let fd = program
            .fd()
            .map_err(KernelError::bpf("using the program"))?;
        let fd = fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(KernelError::io("sharing the program"))?;
        let info = program
            .info()
            .map_err(KernelError::bpf("reading the program's facts"))?;
        Ok(Program {
            fd,
            facts: facts(&info),
        })
    }
}

fn facts(info: &aya::programs::ProgramInfo) -> ProgramFacts {
    ProgramFacts {
        id: info.id(),
        tag: info.tag(),
        verified_instructions: info.verified_instruction_count().unwrap_or(0),
        instructions: info.size_translated().unwrap_or(0) / 8,
    }
}

/// Where the maps of a load come from.
#[derive(Clone, Copy, Debug)]
pub enum MapSource<'a> {
    /// New ones of these sizes.
    New(&'a Sizes),
    /// Those pinned in this directory.
    Pinned(&'a Path),
}

/// Loads `object`. Gives the program `name` and all maps.
///
/// # Errors
/// If the object is empty, lacks a map or the program, or the kernel refuses it; the verifier's last
/// words are in the message.
pub fn load(
    object: &[u8],
    name: &str,
    source: MapSource<'_>,
) -> Result<(Program, Maps), KernelError> {
    if object.is_empty() {
        return Err(KernelError::NoProgram);
    }
    let mut loader = EbpfLoader::new();
    match source {
        MapSource::New(sizes) => {
            for (map, entries) in sizes.entries() {
                loader.map_max_entries(map, entries);
            }
        }
        MapSource::Pinned(directory) => {
            for map in MAP_NAMES {
                loader.map_pin_path(map, directory.join(map));
            }
        }
    }
    let mut ebpf = loader
        .load(object)
        .map_err(|error| KernelError::Load(chain(&error)))?;
    let program = load_program(&mut ebpf, name)?;
    Ok((program, take_maps(&mut ebpf)?))
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<Program, KernelError> {
    let missing = || KernelError::Load(format!("the object has no XDP program {name}"));
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    let program: &mut Xdp = program
        .try_into()
        .map_err(|error: ProgramError| KernelError::Load(chain(&error)))?;
    program
        .load()
        .map_err(|error| KernelError::Load(verifier_words(&error)))?;
    Program::loaded(program)
}

/// The error with the end of the verifier's log, where its reason stands.
fn verifier_words(error: &ProgramError) -> String {
    const LINES: usize = 40;
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    let end = lines.get(from..).unwrap_or_default().join("\n");
    format!("{io_error}; the verifier's last words:\n{end}")
}

fn take_maps(ebpf: &mut Ebpf) -> Result<Maps, KernelError> {
    let mut maps = Maps::new();
    for name in MAP_NAMES {
        let map = ebpf.take_map(name).ok_or(KernelError::MissingMap(name))?;
        maps.insert(name, map_data(map).ok_or(KernelError::MissingMap(name))?);
    }
    Ok(maps)
}

/// The data of a map of one of the kinds the program has.
fn map_data(map: Map) -> Option<MapData> {
    match map {
        Map::Array(data) | Map::PerCpuArray(data) | Map::LpmTrie(data) | Map::RingBuf(data) => {
            Some(data)
        }
        _ => None,
    }
}

/// Opens the maps pinned in `directory`. A map that is not there is left out: maps of another layout
/// may lack it.
///
/// # Errors
/// If one that is there cannot be opened.
pub fn pinned_maps(directory: &Path) -> Result<Maps, KernelError> {
    let mut maps = Maps::new();
    for name in MAP_NAMES {
        let path = directory.join(name);
        if path.exists() {
            let fd = super::syscall::open_pin(&path)?;
            let map = MapData::from_fd(fd).map_err(KernelError::bpf(format!("opening {name}")))?;
            maps.insert(name, map);
        }
    }
    Ok(maps)
}
