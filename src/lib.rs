pub mod error;
pub mod digest;
pub mod keys;
pub mod progress;
pub mod schema;
pub mod pipeline;
#[cfg(feature = "pipeline")]
pub mod engine;
pub mod corpus;
pub mod pairs;
pub mod plan;
pub mod shards;
pub use error::{Error, Result};
