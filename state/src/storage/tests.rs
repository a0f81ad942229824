//! Option checks of all drivers.

use super::*;

fn parse(driver: Driver, options: &[(&str, &str)]) -> Result<StorageOptions, OptionError> {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    StorageOptions::parse(driver, &options)
}

fn good(driver: Driver, options: &[(&str, &str)]) -> StorageOptions {
    parse(driver, options).unwrap_or_else(|(field, reason)| panic!("{field}: {reason}"))
}

/// The smallest options that each driver takes.
const SMALLEST: [(Driver, &[(&str, &str)]); 6] = [
    (Driver::Path, &[("path", "/srv/pg")]),
    (Driver::Image, &[("file", "/srv/pg.img")]),
    (Driver::Nfs, &[("server", "nas"), ("export", "/pg")]),
    (Driver::Glusterfs, &[("servers", "g1,g2"), ("volume", "pg")]),
    (Driver::Cephfs, &[("monitors", "m1,m2:6789")]),
    (Driver::Exec, &[("program", "/usr/lib/berth/disk")]),
];

#[test]
fn each_driver_names_what_it_needs() {
    for (driver, options) in SMALLEST {
        good(driver, options);
        for (left_out, _) in options {
            let rest: Vec<(&str, &str)> = options.iter().filter(|(key, _)| key != left_out).copied().collect();
            let (field, reason) = parse(driver, &rest).unwrap_err();
            assert_eq!(field, format!("options.{left_out}"), "{reason}");
            assert!(reason.contains(&format!("needs option {left_out}=")), "{reason}");
        }
    }
}

#[test]
fn an_unknown_option_is_refused_with_the_known_ones() {
    for (driver, options) in SMALLEST {
        let mut options = options.to_vec();
        options.push(("sise", "10G"));
        let (field, reason) = parse(driver, &options).unwrap_err();
        assert_eq!(field, "options");
        assert!(reason.contains("\"sise\"") && reason.contains(options[0].0), "{reason}");
    }
    let (_, reason) = parse(Driver::Exec, &[("program", "/p"), ("opt.", "x")]).unwrap_err();
    assert!(reason.contains("opt.NAME"), "{reason}");
}

#[test]
fn nothing_can_be_smuggled_into_a_mount() {
    let bad: [(Driver, &[(&str, &str)]); 16] = [
        (Driver::Path, &[("path", "/srv/../etc")]),
        (Driver::Path, &[("path", "srv")]),
        (Driver::Path, &[("path", "/srv,rw")]),
        (Driver::Image, &[("file", "/a\nb")]),
        (Driver::Image, &[("file", "/a"), ("mount-options", "noload")]),
        (Driver::Image, &[("file", "/a"), ("mount-options", "discard,offset=512")]),
        (Driver::Nfs, &[("server", "nas:/other"), ("export", "/pg")]),
        (Driver::Nfs, &[("server", "-onas"), ("export", "/pg")]),
        (Driver::Nfs, &[("server", "nas"), ("export", "/pg,addr=1.2.3.4")]),
        (Driver::Nfs, &[("server", "nas"), ("export", "/pg"), ("mount-options", "hard,addr=10.0.0.1")]),
        (Driver::Nfs, &[("server", "nas"), ("export", "/pg"), ("mount-options", "hard bind")]),
        (Driver::Glusterfs, &[("servers", "g1"), ("volume", "--volfile")]),
        (Driver::Glusterfs, &[("servers", "g1"), ("volume", "pg"), ("mount-options", "-o=x")]),
        (Driver::Glusterfs, &[("servers", "g1"), ("volume", "pg"), ("mount-options", "xlator-option=a.b=c")]),
        (Driver::Cephfs, &[("monitors", "m1"), ("client", "a b")]),
        (Driver::Cephfs, &[("monitors", "m1:port")]),
    ];
    for (driver, options) in bad {
        assert!(parse(driver, options).is_err(), "{options:?}");
    }
}

#[test]
fn mount_options_that_harm_nothing_are_taken_in_order() {
    let StorageOptions::Nfs(options) = good(Driver::Nfs, &[("server", "NAS"), ("export", "/"), ("mount-options", "vers=4.2,hard")]) else {
        panic!("another driver")
    };
    assert_eq!((options.server.as_str(), options.export.as_str()), ("nas", "/"));
    assert_eq!(options.mount_options, ["vers=4.2", "hard"]);
}

#[test]
fn sizes_are_bytes_or_powers_of_1024() {
    let size = |text: &str| {
        let StorageOptions::Image(options) = good(Driver::Image, &[("file", "/a"), ("size", text)]) else { panic!("another driver") };
        options.size_bytes
    };
    assert_eq!((size("10G"), size("64MiB"), size("16777216")), (Some(10 << 30), Some(64 << 20), Some(16 << 20)));
    for bad in ["", "G", "10X", "-1", "1.5G", "1K", "16777217", "99999999999999999999T"] {
        assert!(parse(Driver::Image, &[("file", "/a"), ("size", bad)]).is_err(), "{bad}");
    }
    assert!(parse(Driver::Image, &[("file", "/a"), ("fs", "xfs"), ("size", "64M")]).is_err());
}

#[test]
fn what_a_driver_can_do_follows_from_its_options() {
    let facts = |driver, options: &[(&str, &str)]| {
        let options = good(driver, options);
        (options.can_cut(), options.can_fence(), options.bars_host())
    };
    assert_eq!(facts(Driver::Path, SMALLEST[0].1), (false, false, false));
    assert_eq!(facts(Driver::Image, SMALLEST[1].1), (true, false, false));
    assert_eq!(facts(Driver::Nfs, SMALLEST[2].1), (false, false, false));
    assert_eq!(facts(Driver::Nfs, &[("server", "n"), ("export", "/e"), ("revoke", "/sbin/r")]), (false, true, true));
    assert_eq!(facts(Driver::Glusterfs, SMALLEST[3].1), (true, false, false));
    assert_eq!(facts(Driver::Glusterfs, &[("servers", "g"), ("volume", "v"), ("fence", "auth-reject")]), (true, true, true));
    assert_eq!(facts(Driver::Cephfs, &[("conf", "/etc/ceph/ceph.conf"), ("fence", "evict")]), (true, true, false));
    assert_eq!(facts(Driver::Exec, SMALLEST[5].1), (false, false, false));
    assert_eq!(facts(Driver::Exec, &[("program", "/p"), ("cut", "yes"), ("fence", "yes")]), (true, true, true));
    assert_eq!(facts(Driver::Exec, &[("program", "/p"), ("fence", "token")]), (false, true, false));
}

#[test]
fn two_volumes_over_the_same_data_are_found() {
    let overlap = |one: (Driver, &[(&str, &str)]), other: (Driver, &[(&str, &str)])| {
        let (one, other) = (good(one.0, one.1).place(), good(other.0, other.1).place());
        assert_eq!(one.overlaps(&other), other.overlaps(&one), "{one} {other}");
        one.overlaps(&other)
    };
    let path = |path| [("path", path)];
    assert!(overlap((Driver::Path, &path("/srv")), (Driver::Path, &path("/srv/pg"))));
    assert!(!overlap((Driver::Path, &path("/srv/pg")), (Driver::Path, &path("/srv/pg2"))));
    assert!(overlap((Driver::Path, &path("/srv")), (Driver::Image, &[("file", "/srv/a.img")])), "the image lies in the directory");
    assert!(overlap((Driver::Image, &[("file", "/a.img")]), (Driver::Image, &[("file", "/a.img"), ("fs", "xfs")])));
    assert!(overlap((Driver::Nfs, &[("server", "nas"), ("export", "/")]), (Driver::Nfs, &[("server", "NAS"), ("export", "/pg")])));
    assert!(!overlap((Driver::Nfs, &[("server", "n1"), ("export", "/pg")]), (Driver::Nfs, &[("server", "n2"), ("export", "/pg")])));
    let gluster = |servers, subdir| [("servers", servers), ("volume", "v"), ("subdir", subdir)];
    assert!(overlap((Driver::Glusterfs, &gluster("g1", "/a")), (Driver::Glusterfs, &gluster("g2", "a/b/"))));
    assert!(!overlap((Driver::Glusterfs, &gluster("g1", "a")), (Driver::Glusterfs, &gluster("g1", "b"))));
    assert!(overlap((Driver::Cephfs, &[("monitors", "m1")]), (Driver::Cephfs, &[("monitors", "m2"), ("path", "/pg")])));
    let exec = |extra: (&'static str, &'static str)| [("program", "/p"), extra];
    assert!(overlap((Driver::Exec, &exec(("opt.disk", "d1"))), (Driver::Exec, &exec(("opt.disk", "d1")))));
    assert!(!overlap((Driver::Exec, &exec(("opt.disk", "d1"))), (Driver::Exec, &exec(("opt.disk", "d2")))));
    assert!(!overlap((Driver::Exec, &exec(("dataset", "a"))), (Driver::Exec, &exec(("dataset", "b")))));
    assert!(overlap((Driver::Exec, &exec(("dataset", "a"))), (Driver::Exec, &[("program", "/p"), ("dataset", "a"), ("opt.x", "y")])));
}

#[test]
fn the_identity_is_one_text_for_one_place() {
    assert_eq!(good(Driver::Nfs, &[("server", "NAS"), ("export", "/pg")]).place().to_string(), "nfs:nas:/pg");
    assert_eq!(good(Driver::Glusterfs, &[("servers", "g"), ("volume", "v"), ("subdir", "a/")]).place().to_string(), "glusterfs:v:/a");
    assert_eq!(good(Driver::Cephfs, &[("monitors", "m"), ("fs", "x")]).place().to_string(), "cephfs:x:/");
}
