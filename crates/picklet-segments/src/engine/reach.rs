//! Whether a process can work on a map at all, asked before anything runs: workers on other
//! machines may see other directories by the same path, or lack the right to read or write.

use std::path::Path;

use super::protocol::PublishTo;
use crate::directory::open_file;
use crate::draft::Publisher;
use crate::error::{Error, Result};
use crate::store::Location;

/// Looks from this process whether the segment at `path` (a path or a URL, `bytes` long) can be
/// read and whether outputs can be published. Gives what is wrong in one line, `None` when nothing
/// is.
///
/// That the output is the very directory of the one who asks is told by its session: the name is
/// drawn anew for each run, and nothing can be begun in one that is not the current.
pub fn out_of_reach(path: &str, bytes: u64, output: &PublishTo) -> Option<String> {
    match look(path.as_ref()) {
        Err(error) => return Some(error.to_string()),
        Ok(found) if found != bytes => {
            return Some(format!("{path} has {found} bytes there, and {bytes} here"));
        }
        Ok(_) => {}
    }
    match begin(output) {
        Ok(()) => None,
        Err(Error::TakenOver(_)) => Some(format!("{} is another one there", output.directory)),
        Err(error) => Some(error.to_string()),
    }
}

/// The size of a file that can be read.
fn look(path: &Path) -> Result<u64> {
    let (file, path) = open_file(path)?;
    let failed = |error| Error::io("read", &path, error);
    // Not only looked at: one may see the size of what one may not read.
    file.read_at(0, &mut [0; 1]).map_err(failed)?;
    file.size().map_err(failed)
}

/// Begins a segment and drops it, which leaves nothing behind.
fn begin(output: &PublishTo) -> Result<()> {
    let publisher = Publisher::new(&Location::new(&output.directory)?, &output.session, false)?;
    publisher.draft("picklet-probe").map(drop)
}
