//! Maps, pins and the control socket are out of reach of other users of the machine.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use schoolgate_tests::lab::daemon::program_or_skip;
use schoolgate_tests::lab::nobody::{NOBODY, as_nobody, open_pin};
use schoolgate_tests::lab::scene::Scene;

/// Everything below a directory.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            paths.extend(below(&entry.path())?);
        }
    }
    Ok(paths)
}

/// The rights; the BPF file system sets the sticky bit beside them.
fn mode(path: &Path) -> io::Result<u32> {
    Ok(std::fs::symlink_metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn pins_are_of_root_alone() {
    let Some(program) = program_or_skip("daemon_private") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let pins = scene.site.pins();
    assert_eq!(mode(&pins).unwrap(), 0o700);
    let all = below(&pins).unwrap();
    let files: Vec<_> = all.iter().filter(|path| !path.is_dir()).collect();
    for map in [
        "CONTROL",
        "SUBJECTS",
        "FLOWS",
        "program",
        "link-school0",
        "link-neighbour0",
    ] {
        assert!(
            files.iter().any(|path| path.ends_with(map)),
            "{map} in {files:?}"
        );
    }
    for path in &all {
        assert_eq!(mode(path).unwrap() & 0o077, 0, "{}", path.display());
        let owner = std::fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(owner, 0, "{}", path.display());
    }
    let link = pins.join("link-school0");
    assert!(open_pin(&link).is_ok(), "root opens {}", link.display());
}

#[test]
fn nobody_opens_no_pin_no_secret_and_not_the_socket() {
    let Some(program) = program_or_skip("daemon_private") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let pins = below(&scene.site.pins()).unwrap();
    // The site's own directory is private too; what is below it must not depend on that.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scene.site.path(""), open).unwrap();
    let (run, state) = (scene.site.path("run"), scene.site.path("state"));
    let denied = |result: io::Result<()>| {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    as_nobody(|| {
        assert!(
            std::fs::metadata(scene.site.path("run")).is_ok(),
            "the way there is open"
        );
        for pin in &pins {
            assert!(denied(open_pin(pin).map(drop)), "{}", pin.display());
        }
        assert!(denied(std::fs::read_dir(run.join("bpf")).map(drop)));
        assert!(denied(std::fs::read_dir(&state).map(drop)));
        let socket = std::os::unix::net::UnixStream::connect(run.join("control.sock"));
        assert!(denied(socket.map(drop)), "the control socket");
    })
    .unwrap();
}

#[test]
fn pins_of_another_owner_are_refused() {
    let Some(program) = program_or_skip("daemon_private") else {
        return;
    };
    let scene = Scene::new(&program).unwrap();
    std::fs::create_dir_all(scene.site.pins()).unwrap();
    chown(scene.site.pins(), Some(NOBODY), Some(NOBODY)).unwrap();
    let refused = scene.site.ask(&scene.topology.edge, &["run"]).unwrap();
    assert_eq!(refused.code, Some(4), "{refused:?}");
    chown(scene.site.pins(), Some(0), Some(0)).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scene.site.pins(), open).unwrap();
    let refused = scene.site.ask(&scene.topology.edge, &["run"]).unwrap();
    assert_eq!(refused.code, Some(4), "open to others: {refused:?}");
}
