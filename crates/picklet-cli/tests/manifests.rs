//! The manifests that the commands write, held to the schema that the documentation gives, and
//! what `repair` says of a damaged directory.

mod common;

use std::fs;
use std::path::Path;

use boon::{Compiler, Schemas};
use common::{folder, numbers, run};
use serde_json::Value;

/// Whether a directory's manifest is what `docs/manifest.schema.json` says.
fn fits_the_schema(directory: &Path) -> Value {
    let schema = include_str!("../../../docs/manifest.schema.json");
    let mut compiler = Compiler::new();
    compiler.add_resource("schema.json", serde_json::from_str(schema).unwrap()).unwrap();
    let mut schemas = Schemas::new();
    let schema = compiler.compile("schema.json", &mut schemas).unwrap();
    let text = fs::read_to_string(directory.join("segments.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    if let Err(error) = schemas.validate(&manifest, schema) {
        panic!("{}: {error:#}\n{text}", directory.display());
    }
    manifest
}

/// A `.npy` file of 40 x 30 bytes.
fn npy() -> Vec<u8> {
    let mut header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (40, 30), }".to_vec();
    header.resize(117, b' ');
    header.push(b'\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header);
    file.extend((0..1200u32).map(|n| n as u8));
    file
}

#[test]
fn every_command_writes_a_manifest_that_fits_the_schema() {
    let temp = folder();
    let dir = temp.path();
    fs::write(dir.join("a.pickle"), numbers(1000)).unwrap();
    fs::write(dir.join("many.pickle"), [numbers(3), numbers(4), b"N.".to_vec()].concat()).unwrap();
    fs::write(dir.join("lines.jsonl"), "{\"번호\": 1}\n[2]\n").unwrap();
    // Items of different segments share a list.
    fs::write(dir.join("shared.pickle"), b"\x80\x02]q\x00(]q\x01K\x01ah\x01h\x01e.").unwrap();
    fs::write(dir.join("dict.pickle"), b"\x80\x02}(K\x01K\x02K\x03K\x04u.").unwrap();
    fs::write(dir.join("scene.npy"), npy()).unwrap();
    for (out, args) in [
        ("list", &["split", "a.pickle", "--count", "300"][..]),
        ("stored", &["split", "a.pickle", "--parts", "3", "--compress", "zstd", "--sha256"]),
        ("stream", &["split", "many.pickle", "--count", "1"]),
        ("lines", &["split", "lines.jsonl", "--count", "1"]),
        ("shared", &["split", "shared.pickle", "--count", "1", "--shared", "copy"]),
        ("dict", &["split", "dict.pickle", "--count", "1", "--name", "날"]),
        ("tiles", &["split", "scene.npy", "--tile", "16x16", "--overlap", "2"]),
        ("mapped", &["map", "list", "-j", "2", "--version", "1", "--", "cat"]),
        ("ran", &["run", "a.pickle", "--count", "400", "--compress", "gzip", "--", "cat"]),
    ] {
        let (before, after) = match args.iter().position(|word| *word == "--") {
            Some(at) => args.split_at(at),
            None => (args, &[][..]),
        };
        run(dir, before.iter().chain(&["-o", out]).chain(after)).good();
        let manifest = fits_the_schema(&dir.join(out));
        let made_by = manifest["made_by"].as_str().unwrap();
        assert!(made_by.starts_with(&format!("picklet {}", args[0])), "{made_by}");
        assert!(made_by.contains(&format!("-o {out}")), "{made_by}");
    }
    let shared = fits_the_schema(&dir.join("shared"));
    assert_eq!(shared["segments"][1]["shared"]["mutable"], 1);
    fs::write(dir.join("list/data-00002.pickle"), "damaged").unwrap();
    fs::write(dir.join("dict/segments.json"), "damaged").unwrap();
    for directory in ["list", "dict"] {
        run(dir, ["repair", directory]);
        fits_the_schema(&dir.join(directory));
    }
}

#[test]
fn repair_says_what_is_lost_and_the_command_that_it_says_gets_it_back() {
    let temp = folder();
    let dir = temp.path();
    fs::write(dir.join("내 자료.pickle"), numbers(1000)).unwrap();
    run(dir, ["split", "내 자료.pickle", "-o", "in", "--count", "300", "--json"]).good();
    run(dir, ["map", "in", "-o", "out", "--", "sh", "-c", "cat; echo >/dev/null"]).good();
    for directory in ["in", "out"] {
        let manifest = fs::read(dir.join(directory).join("segments.json")).unwrap();
        let segment = dir.join(directory).join("data-00001.pickle");
        let whole = fs::read(&segment).unwrap();
        let mut damaged = whole.clone();
        damaged[50] ^= 4;
        fs::write(&segment, &damaged).unwrap();
        fs::remove_file(dir.join(directory).join("data-00003.pickle")).unwrap();
        let ran = run(dir, ["repair", directory]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for part in [
            "lost: data-00001.pickle (items 300 to 599): its xxh3 is ",
            &format!("it is now {directory}/.picklet/quarantine/data-00001.pickle"),
            "lost: data-00003.pickle (items 900 to 999): it is not there",
            &format!("{directory}: 2 segments in the manifest, 2 lost"),
        ] {
            assert!(ran.out.contains(part), "{part:?}: {ran:?}");
        }
        let quarantined = dir.join(directory).join(".picklet/quarantine/data-00001.pickle");
        assert_eq!(fs::read(quarantined).unwrap(), damaged);
        let (_, command) = ran.out.trim_end().rsplit_once("where it was run first: ").unwrap();
        assert!(command.starts_with("picklet "), "{command}");
        let program = format!("'{}'", env!("CARGO_BIN_EXE_picklet"));
        let command = command.replacen("picklet", &program, 1);
        let output = std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        assert_eq!(fs::read(&segment).unwrap(), whole);
        run(dir, ["verify", directory, "--deep"]).good();
        let again = fs::read(dir.join(directory).join("segments.json")).unwrap();
        if directory == "in" {
            assert!(again == manifest, "the manifest is as it was");
        }
    }
    // Where nobody knows what made it, that is said.
    fs::remove_file(dir.join("in/segments.json")).unwrap();
    fs::remove_dir_all(dir.join("in/.picklet")).unwrap();
    fs::write(dir.join("in/data-00000.pickle"), "damaged").unwrap();
    let ran = run(dir, ["repair", "in", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["lost"][0]["file"], "data-00000.pickle");
    assert!(report["way_back"][0].as_str().unwrap().contains("nobody knows"), "{report}");
}

#[test]
fn deep_verify_finds_what_digests_cannot() {
    let temp = folder();
    let dir = temp.path();
    fs::create_dir(dir.join("plain")).unwrap();
    // No manifest, so no digests: only the pickles can tell.
    fs::write(dir.join("plain/a.pickle"), numbers(10)).unwrap();
    fs::write(dir.join("plain/b.pickle"), [numbers(3), b"more".to_vec()].concat()).unwrap();
    fs::write(dir.join("plain/c.pickle"), b"\x80\x04X\x02\0\0\0\xff\xff.").unwrap();
    fs::write(dir.join("plain/d.pickle"), b"\x80\x04](K\x01e").unwrap();
    fs::write(dir.join("plain/e.pickle"), b"I12x4\n.").unwrap();
    let shallow = run(dir, ["verify", "plain"]);
    assert_eq!(shallow.code, Some(0), "{shallow:?}");
    assert!(shallow.out.contains("5 segments without a digest"), "{shallow:?}");
    let deep = run(dir, ["verify", "plain", "--deep"]);
    assert_eq!(deep.code, Some(1), "{deep:?}");
    let damaged: Vec<&str> =
        deep.out.lines().filter_map(|line| line.strip_prefix("damaged: ")).collect();
    let files: Vec<&str> = damaged.iter().map(|line| &line[..8]).collect();
    assert_eq!(files, ["b.pickle", "c.pickle", "d.pickle", "e.pickle"], "{deep:?}");
    assert!(damaged[0].contains("4 bytes follow its end"), "{}", damaged[0]);
    let json = run(dir, ["verify", "plain", "--deep", "--json", "-j", "1"]);
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&report["good"], &report["deep"]), (&false.into(), &true.into()));
    assert_eq!(report["damaged"].as_array().unwrap().len(), 4);
}
