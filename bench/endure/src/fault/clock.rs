//! Time jumps for the client's proxy. All clocks do for a process that is stopped for a while, as on a machine that is
//! suspended. The wall clock alone does where somebody sets it: a time namespace does not move that one, and the machine's
//! own is everybody's, so Debian's libfaketime answers in its place, which takes a proxy that is linked dynamically
//! (`--dynamic PATH`). The monotonic clock goes on as it is then.

use super::{Fault, as_usual, promise};
use crate::scene::{Scene, Setup};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The file that says how far the clock is off.
const FILE: &str = "clock";
/// libfaketime looks into the file as often.
const LOOK: u64 = 1;
/// How long the clock stays where it is.
const STAYS: u64 = 6;
/// Where Debian has libraries.
const LIBRARIES: &str = "/usr/lib";
/// What a program says in its beginning that needs a dynamic loader.
const LOADER: &[u8] = b"/ld-linux";

pub(super) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "suspended",
            what: "the client's proxy is stopped for two seconds (SIGSTOP), and finds all clocks ahead when it goes on",
            promise: promise(
                "none: requests wait, and no connection is given up, as it takes three seconds for a ping to be \
                 unanswered",
                3,
                Vec::new(),
            ),
            setup: as_usual,
            run: suspended,
        },
        Fault {
            name: "clock-jump",
            what: "the wall clock of the client's proxy jumps an hour ahead, back, ten seconds behind, and back",
            promise: promise(
                "none: durations are taken from the monotonic clock, and certificates of twelve hours, valid from 20 s \
             before they are issued, are valid on either side of the jumps",
                2,
                Vec::new(),
            ),
            setup: faked,
            run: jumps,
        },
    ]
}

fn suspended(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.client.signal(Signal::STOP)?;
    scene.go_on(scene.span(2, 2));
    scene.client.signal(Signal::CONT)?;
    scene.end();
    Ok(())
}

fn faked(setup: &mut Setup) -> Result<Option<String>> {
    let Some(dynamic) = setup.settings.dynamic.clone() else {
        return Ok(Some("the proxies are static; --dynamic names one whose clock can be moved".to_owned()));
    };
    ensure!(is_dynamic(&dynamic)?, "{} is static: nothing answers in place of its clock", dynamic.display());
    setup.client_binary = dynamic;
    if let Err(error) = mesh_bed::require("faketime", "faketime") {
        return Ok(Some(format!("{error:#}")));
    }
    let Some(library) = library(Path::new(LIBRARIES)) else {
        return Ok(Some(format!("libfaketime is not below {LIBRARIES}")));
    };
    let file = setup.files.path().join(FILE);
    std::fs::write(&file, "+0\n")?;
    let env = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", LOOK.to_string()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    setup.client_env.extend(env.map(|(name, value)| (name.to_owned(), value)));
    // The certificate is renewed while the clock is off, by a clock that jumps.
    setup.client_env.push(("LINKERD2_PROXY_IDENTITY_MAX_REFRESH".to_owned(), "2s".to_owned()));
    Ok(None)
}

fn jumps(scene: &mut Scene) -> Result<()> {
    let stays = scene.span(STAYS + LOOK, STAYS / 2 + LOOK);
    let refreshed = |scene: &Scene| scene.metric(None, "control_identity_cert_refresh_timestamp_seconds", "");
    let first = refreshed(scene)?;
    scene.begin();
    let mut furthest = 0.0_f64;
    for offset in ["+3600", "+0", "-10", "+0"] {
        write(scene.setup.files.path(), offset)?;
        scene.go_on(stays);
        furthest = furthest.max(refreshed(scene)? - first);
    }
    scene.end();
    ensure!(furthest > 3000.0, "the proxy's clock did not jump: it moved by {furthest:.0} s");
    scene
        .notes
        .push(format!("by the proxy's clock a certificate was renewed {furthest:.0} s after the first one"));
    Ok(())
}

/// Replaces the file as a whole, as it is read while this is written.
fn write(dir: &Path, offset: &str) -> Result<()> {
    let new = dir.join("clock.new");
    std::fs::write(&new, format!("{offset}\n"))?;
    Ok(std::fs::rename(new, dir.join(FILE))?)
}

fn library(below: &Path) -> Option<PathBuf> {
    let here = [below.to_owned()].into_iter();
    let folders = std::fs::read_dir(below).ok()?.flatten().map(|entry| entry.path());
    here.chain(folders).map(|dir| dir.join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}

/// Whether a program names a dynamic loader.
fn is_dynamic(program: &Path) -> Result<bool> {
    let mut beginning = Vec::new();
    let file = std::fs::File::open(program).with_context(|| program.display().to_string())?;
    file.take(8 << 10).read_to_end(&mut beginning)?;
    Ok(beginning.windows(LOADER.len()).any(|window| window == LOADER))
}
