//! The manual pages, made from the definition of the commands.

mod common;

use std::fs;

use common::{folder, run};

#[test]
fn every_command_has_a_manual_page_with_its_options_and_examples() {
    let folder = folder();
    run(folder.path(), ["man", "-o", "남/man1"]).good();
    for command in picklet_cli::definition().get_subcommands() {
        let name = format!("남/man1/picklet-{}.1", command.get_name());
        let page = fs::read_to_string(folder.path().join(&name)).expect(&name);
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{name}");
    }
    let whole = run(folder.path(), ["man"]).good();
    assert!(whole.contains("picklet\\-split(1)"), "{whole}");
}
