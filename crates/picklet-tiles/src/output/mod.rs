//! Where stitched arrays go: a file that is whole under its name or not there at all.

use std::path::{Path, PathBuf};

use picklet_segments::array::Dtype;
use picklet_segments::{Error, Result};
use tempfile::NamedTempFile;

mod png;
mod raw;
mod tiff;

use png::PngFile;
use raw::RawFile;

/// A stitched array being written, band by band along one axis.
pub(crate) trait Output {
    /// Writes the block of `rows` rows along the band's axis from `first` on, whole along all
    /// other axes, as bytes in C order. Bands come in order, without gaps.
    fn band(&mut self, first: u64, rows: u64, block: &[u8]) -> Result<()>;

    /// Ends the file and puts it in its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Begins the file `path`, whose ending says what it is to be, for an array of this type and
/// shape that comes in bands along `axis`.
///
/// # Errors
/// [`Error::Usage`] when such a file cannot hold such an array; [`Error::Io`].
pub(crate) fn create(
    path: &Path,
    dtype: &Dtype,
    shape: &[u64],
    axis: usize,
) -> Result<Box<dyn Output>> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Ok(match ending.to_ascii_lowercase().as_str() {
        "npy" => Box::new(RawFile::npy(path, dtype, shape, axis)?),
        "pickle" | "pkl" => Box::new(RawFile::pickle(path, dtype, shape, axis)?),
        "tif" | "tiff" => Box::new(RawFile::tiff(path, dtype, shape, axis)?),
        "png" => Box::new(PngFile::new(path, dtype, shape, axis)?),
        _ => {
            return Err(Error::usage(format!(
                "{}: the file's ending says what it is to be: .npy, .pickle, .tif or .png",
                path.display()
            )));
        }
    })
}

/// Begins a PNG that comes in bands of rows, whatever the ending of `path`.
pub(crate) fn png_file(path: &Path, dtype: &Dtype, shape: &[u64]) -> Result<Box<dyn Output>> {
    Ok(Box::new(PngFile::new(path, dtype, shape, 0)?))
}

/// Truth values as black and white.
fn spread(pixels: &mut [u8]) {
    for pixel in pixels {
        *pixel = if *pixel == 0 { 0 } else { 255 };
    }
}

/// A temporary file beside `path`, which takes its place at the end.
pub(crate) struct Pending {
    pub(crate) file: NamedTempFile,
    pub(crate) path: PathBuf,
}

impl Pending {
    pub(crate) fn new(path: &Path) -> Result<Pending> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(Error::usage(format!("{}: is a directory", path.display())));
        }
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As any file that a program makes: what the user's mask leaves.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .prefix(".picklet-")
            .tempfile_in(folder)
            .map_err(|e| Error::io("write", path, e))?;
        Ok(Pending { file, path: path.to_owned() })
    }

    pub(crate) fn error(&self, error: std::io::Error) -> Error {
        Error::io("write", &self.path, error)
    }

    /// Puts the file in its place.
    pub(crate) fn publish(self) -> Result<()> {
        let Pending { file, path } = self;
        file.as_file().sync_all().map_err(|e| Error::io("write", &path, e))?;
        file.persist(&path).map(drop).map_err(|e| Error::io("write", &path, e.error))
    }
}
