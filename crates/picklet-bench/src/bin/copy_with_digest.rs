//! `copy_with_digest FROM TO`: copies a file block by block and takes one xxh3 digest of it, the
//! least that anything does which writes segments with digests.

use std::fs::File;
use std::io::{Read, Write};

use xxhash_rust::xxh3::Xxh3;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("copy_with_digest FROM TO"));
    };
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; 256 * 1024];
    let mut digest = Box::new(Xxh3::new());
    loop {
        let read = from.read(&mut block)?;
        let bytes = block.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        digest.update(bytes);
        to.write_all(bytes)?;
    }
    to.sync_all()?;
    println!("{:032x}", digest.digest128());
    Ok(())
}
