//! Help, usage errors, completions, and what the program never links.

mod common;

use common::{folder, picklet, run};

/// Every command, from the definition itself.
fn commands() -> Vec<String> {
    let names = picklet_cli::definition();
    names.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn every_command_has_help_with_examples_of_itself() {
    let dir = folder();
    for command in commands() {
        let help = run(dir.path(), [&command, "--help"]).good();
        assert!(help.contains("Examples:"), "{command}");
        assert!(help.contains(&format!("picklet {command} ")), "{command}");
    }
    let help = run(dir.path(), ["--help"]).good();
    for command in commands() {
        assert!(help.contains(&command), "{command}");
    }
}

#[test]
fn every_example_of_the_help_parses() {
    let dir = folder();
    for command in commands() {
        let help = run(dir.path(), [&command, "--help"]).good();
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        for line in examples.lines().filter_map(|line| line.trim().split_once("picklet ")) {
            // Up to the remark, which stands behind several blanks, or the rest of a pipeline.
            let words =
                line.1.split("   ").next().unwrap().split([';', '|', '>', '&', '`', ')']).next();
            let words = words.unwrap().split_whitespace();
            let parsed = picklet_cli::definition()
                .try_get_matches_from(std::iter::once("picklet").chain(words));
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn no_colours_where_there_is_no_terminal() {
    let dir = folder();
    assert!(!run(dir.path(), ["--help"]).good().contains('\x1b'));
    let ran = run(dir.path(), ["frobnicate"]);
    ran.refused(&["frobnicate", "picklet --help"]);
}

#[test]
fn a_usage_error_is_one_line_that_names_the_help() {
    let dir = folder();
    run(dir.path(), ["ls"]).refused(&["<DIR>", "`picklet ls --help`"]);
    run(dir.path(), ["ls", "a", "--wrong"]).refused(&["--wrong", "`picklet ls --help`"]);
    run(dir.path(), ["map", "a", "-o", "b"]).refused(&["--call", "`picklet map --help`"]);
    run(dir.path(), ["map", "a", "-o", "b", "--call", "nocolon"]).refused(&["module:function"]);
    run(dir.path(), ["map", "a", "-o", "b", "-j", "0", "--", "cat"]).refused(&["1 or more"]);
}

#[test]
fn without_arguments_it_shows_its_help_and_exits_2() {
    let dir = folder();
    let ran = run(dir.path(), [""; 0]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("Examples:"), "{ran:?}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = run(folder().path(), ["--version"]).good();
    assert_eq!(version, format!("picklet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_of_every_shell_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(folder().path(), ["completions", shell]).good();
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_program_does_not_link_libpython() {
    let program = picklet(folder().path()).get_program().to_owned();
    let Ok(linked) = std::process::Command::new("ldd").arg(program).output() else {
        eprintln!("SKIPPED: there is no ldd");
        return;
    };
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    assert!(linked.contains("libc"), "{linked}");
    assert!(!linked.contains("python"), "{linked}");
}
