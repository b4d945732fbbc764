//! Where a segments directory is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, RealDisk};
use super::{LocalStore, Store};
#[cfg(not(feature = "object-store"))]
use crate::error::Error;
use crate::error::Result;

/// Where a segments directory is: a path of any form, UTF-8 or not, or the URL
/// of a place in an object store.
///
/// ```
/// use picklet_segments::Location;
///
/// assert_eq!(Location::new("out")?.local_path(), Some("out".as_ref()));
/// # #[cfg(feature = "object-store")]
/// assert_eq!(Location::new("s3://bucket/out/")?.to_string(), "s3://bucket/out");
/// assert!(Location::new("ftp://server/out").is_err());
/// # Ok::<(), picklet_segments::Error>(())
/// ```
#[derive(Clone)]
pub struct Location(Inner);

#[derive(Clone)]
enum Inner {
    Disk {
        disk: Arc<dyn Disk>,
        path: PathBuf,
    },
    #[cfg(feature = "object-store")]
    Remote(super::remote::Place),
}

/// Whether `text` is a URL and no path: it begins with a scheme and `://`.
pub fn is_url(text: impl AsRef<Path>) -> bool {
    let Some((scheme, _)) = text.as_ref().to_str().and_then(|text| text.split_once("://")) else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

impl Location {
    /// The place that a person means by `text`: a URL where it looks like one
    /// ([`is_url`]), and otherwise a directory of the local file system.
    /// `s3://`, `gs://`, `az://` and `memory://` can be read and written,
    /// `http://` and `https://` can be read. Credentials come from the usual
    /// environment variables (`AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`,
    /// `AZURE_STORAGE_ACCOUNT_NAME`, …). Nothing is asked of the network yet.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a URL of something else, and for any URL where
    /// this crate was built without `object-store`.
    pub fn new(text: impl AsRef<Path>) -> Result<Self> {
        let path = text.as_ref();
        match path.to_str() {
            Some(url) if is_url(path) => Location::url(url),
            _ => Ok(Location::local(path)),
        }
    }

    #[cfg(feature = "object-store")]
    fn url(url: &str) -> Result<Self> {
        Ok(Location(Inner::Remote(super::remote::Place::parse(url)?)))
    }

    #[cfg(not(feature = "object-store"))]
    fn url(url: &str) -> Result<Self> {
        Err(Error::usage(format!("{url:?}: this picklet was built without object stores")))
    }

    /// A directory of the local file system, whatever its name looks like.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Location::on_disk(Arc::new(RealDisk), path)
    }

    /// A directory on a [`Disk`] of one's own, for tests.
    pub fn on_disk(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Self {
        Location(Inner::Disk { disk, path: path.into() })
    }

    /// A place in an object store of one's own, below `prefix`. `beat` is how
    /// often a writer says that it lives: four of them missed, and another may
    /// take over whose machine cannot tell in another way.
    #[cfg(feature = "object-store")]
    pub fn on_object_store(
        store: Arc<dyn object_store::ObjectStore>,
        prefix: &str,
        beat: std::time::Duration,
    ) -> Self {
        Location(Inner::Remote(super::remote::Place::given(store, prefix, beat)))
    }

    /// The directory's path, or its URL without a slash at its end. For
    /// messages, and to tell places apart; [`Location::local_path`] is for
    /// opening files.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Inner::Disk { path, .. } => path,
            #[cfg(feature = "object-store")]
            Inner::Remote(place) => place.url(),
        }
    }

    /// The directory's path, when it is one that other programs can open.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.0 {
            Inner::Disk { disk, path } => disk.is_real().then_some(path),
            #[cfg(feature = "object-store")]
            Inner::Remote(_) => None,
        }
    }

    /// Whether it is a URL.
    pub fn is_url(&self) -> bool {
        match &self.0 {
            Inner::Disk { .. } => false,
            #[cfg(feature = "object-store")]
            Inner::Remote(_) => true,
        }
    }

    /// What can be done there. Touches nothing yet.
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.0 {
            Inner::Disk { disk, path } => Arc::new(LocalStore::new(disk.clone(), path.clone())),
            #[cfg(feature = "object-store")]
            Inner::Remote(place) => Arc::new(super::remote::RemoteStore::new(place.clone())),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Location::local(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Location::local(path)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().fmt(f)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::error::Shown(self.path()).fmt(f)
    }
}
