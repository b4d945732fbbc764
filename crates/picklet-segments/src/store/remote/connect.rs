//! From a URL to a client, and from `async` to the rest of this crate.
//!
//! Everything outside this folder is synchronous. What the network needs runs
//! on two threads of a runtime that is made when the first URL is used, and
//! again in a process that was forked from one that had it: its threads are
//! not there, and nothing would ever answer.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use tokio::runtime::Runtime;

use crate::error::{Error, Result};

/// Threads that carry requests. They only wait and copy.
const NETWORK_THREADS: usize = 2;

/// A client for one bucket, container or server.
#[derive(Clone)]
pub(super) enum Client {
    /// One that the caller made.
    Given(Arc<dyn ObjectStore>),
    /// One that is made from the environment when it is needed.
    Url(Arc<Bucket>),
}

/// The part of a URL before the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    scheme: Scheme,
    /// `s3://bucket`.
    base: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    S3,
    Google,
    Azure,
    Http,
    Memory,
}

/// A URL taken apart.
pub(super) struct Address {
    pub(super) client: Client,
    /// What all names in the store begin with; no slash at either end.
    pub(super) prefix: String,
    /// The URL without a slash at its end.
    pub(super) url: String,
    pub(super) read_only: bool,
}

/// Takes a URL apart. Nothing is asked of the network yet.
///
/// # Errors
/// [`Error::Usage`] for what is no URL of a store.
pub(super) fn parse(url: &str) -> Result<Address> {
    let refuse = |why: &str| Err(Error::usage(format!("{url:?}: {why}")));
    let Some((scheme, rest)) = url.split_once("://") else { return refuse("is no URL") };
    let (scheme, azure) = match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" => (Scheme::S3, "s3"),
        "gs" => (Scheme::Google, "gs"),
        "az" | "azure" | "abfs" | "abfss" => (Scheme::Azure, "az"),
        "http" => (Scheme::Http, "http"),
        "https" => (Scheme::Http, "https"),
        "memory" => (Scheme::Memory, "memory"),
        "file" => return refuse("give the path itself, without file://"),
        _ => return refuse("picklet knows s3://, gs://, az://, http:// and https:// URLs"),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() && scheme != Scheme::Memory {
        return refuse("names no bucket; write it as s3://bucket/folder");
    }
    if path.contains(['?', '#']) || host.contains(['?', '#']) {
        return refuse("has a part after ? or #, and a segments directory has none");
    }
    let prefix = match scheme {
        Scheme::Http => Path::from_url_path(path),
        _ => Path::parse(path),
    };
    let prefix = match prefix {
        Ok(prefix) => prefix.as_ref().to_owned(),
        Err(e) => return refuse(&format!("is no place in a store: {}", super::one_line(&e))),
    };
    let base = format!("{azure}://{host}");
    Ok(Address {
        url: url.trim_end_matches('/').to_owned(),
        client: Client::Url(Arc::new(Bucket { scheme, base })),
        prefix,
        read_only: scheme == Scheme::Http,
    })
}

/// Clients by process and bucket.
type Clients = HashMap<(u32, Bucket), Arc<dyn ObjectStore>>;

static CLIENTS: Mutex<Option<Clients>> = Mutex::new(None);
static MEMORIES: Mutex<Option<HashMap<String, Arc<InMemory>>>> = Mutex::new(None);

impl Client {
    /// The client, for this process.
    ///
    /// # Errors
    /// When the environment does not say enough to make one.
    pub(super) fn get(&self) -> Result<Arc<dyn ObjectStore>> {
        let bucket = match self {
            Client::Given(client) => return Ok(client.clone()),
            Client::Url(bucket) => bucket,
        };
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (std::process::id(), (**bucket).clone());
        let clients = clients.get_or_insert_default();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        install_tls();
        let client = bucket.client().map_err(|e| {
            Error::usage(format!("{}: cannot be used: {}", bucket.base, super::one_line(&e)))
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl Bucket {
    fn client(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        Ok(match self.scheme {
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_url(&self.base);
                let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
                // Whoever names an endpoint by http:// means it.
                let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
                let builder = if plain { builder.with_allow_http(true) } else { builder };
                Arc::new(builder.build()?)
            }
            Scheme::Google => {
                Arc::new(GoogleCloudStorageBuilder::from_env().with_url(&self.base).build()?)
            }
            Scheme::Azure => {
                Arc::new(MicrosoftAzureBuilder::from_env().with_url(&self.base).build()?)
            }
            Scheme::Http => {
                let options = ClientOptions::new().with_allow_http(true);
                let builder = HttpBuilder::new().with_url(&self.base);
                Arc::new(builder.with_client_options(options).build()?)
            }
            Scheme::Memory => {
                let mut memories = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
                memories.get_or_insert_default().entry(self.base.clone()).or_default().clone()
            }
        })
    }
}

/// Chooses the library under TLS, once. An application that has chosen one is left alone.
fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be faster, and then has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

fn runtime() -> io::Result<Arc<Runtime>> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, runtime)) = &*runtime
        && *owner == process
    {
        return Ok(runtime.clone());
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .thread_name("picklet-network")
        .enable_all()
        .build()?;
    let made = Arc::new(made);
    // The one of the process that we were forked from has no threads any more: taking it apart
    // would wait for them for ever.
    std::mem::forget(runtime.replace((process, made.clone())));
    Ok(made)
}

/// Runs `future` to its end and waits for it. Works in any thread, one that
/// belongs to somebody's own runtime included.
///
/// # Errors
/// When the runtime cannot be started.
pub(super) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (send, receive) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody listens when the waiting thread was ended.
        let _ = send.send(future.await);
    });
    receive.recv().map_err(|_| io::Error::other("a request to the store came to no end"))
}

/// Lets `future` run by itself.
///
/// # Errors
/// When the runtime cannot be started.
pub(super) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<tokio::task::JoinHandle<T>> {
    Ok(runtime()?.spawn(future))
}
