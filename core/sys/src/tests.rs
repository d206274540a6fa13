use super::*;

#[test]
fn a_thread_leaves_its_network_namespace_alone() {
    let namespace = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = namespace();
    let inside = std::thread::spawn(move || {
        unshare(&[Namespace::Network]).unwrap();
        namespace()
    });
    assert_ne!(inside.join().unwrap(), before);
    assert_eq!(namespace(), before);
}

#[test]
fn a_tun_device_lives_in_its_namespace_as_long_as_its_descriptor() {
    std::thread::spawn(|| {
        unshare(&[Namespace::Network]).unwrap();
        let listed = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().contains("relay0");
        let tun = open_tun("relay0").unwrap();
        assert!(listed());
        drop(tun);
        // A child that another test forks holds a copy of the descriptor until its exec.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while listed() {
            assert!(std::time::Instant::now() < deadline, "the device outlives its descriptor");
            std::thread::yield_now();
        }
    })
    .join()
    .unwrap();
}

#[test]
fn interface_names_that_do_not_fit_are_refused() {
    for name in ["", "sixteen-letters-", "nul\0"] {
        assert_eq!(open_tun(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn children_inherit_no_descriptor_of_the_callers_caller() {
    use std::os::fd::AsRawFd as _;
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let held = |fd: i32| {
        let seen =
            std::process::Command::new("readlink").arg(format!("/proc/self/fd/{fd}")).output().unwrap();
        String::from_utf8(seen.stdout).unwrap().starts_with("pipe:")
    };
    assert!(held(writer.as_raw_fd()));
    bequeath_nothing().unwrap();
    assert!(!held(writer.as_raw_fd()));
    drop(reader);
}

#[test]
fn code_that_nobody_runs_any_more_takes_no_memory() {
    // Linux 5.14; before that what the tests have run so far must do.
    let _ = advise_code(Advice::LinuxPopulateRead);
    let before = resident_code();
    forget_code().unwrap();
    let after = resident_code();
    assert!(after < before, "{after} KiB of {before}");
}

/// KiB of mapped code, from the blocks of `/proc/self/smaps`: a line as in `maps`, then one for each figure.
fn resident_code() -> u64 {
    let (mut resident, mut is_code) = (0, false);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        match line.strip_prefix("Rss:") {
            Some(figure) if is_code => {
                resident += figure.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
            }
            Some(_) => {}
            None if line.split_ascii_whitespace().next().is_some_and(|first| !first.ends_with(':')) => {
                is_code = code(line).next().is_some();
            }
            None => {}
        }
    }
    resident
}

#[test]
fn only_files_that_are_mapped_to_be_run_are_code() {
    let maps = "\
5500-5600 r--p 00000000 08:01 77 /bin/proxy
5600-5900 r-xp 00100000 08:01 77 /bin/proxy
5900-5a00 rw-p 00400000 08:01 77 /bin/proxy
7f00-7f01 r-xp 00000000 00:00 0 [vdso]
";
    let mut ranges = code(maps);
    assert_eq!((ranges.next(), ranges.next()), (Some(0x5600..0x5900), None));
}
