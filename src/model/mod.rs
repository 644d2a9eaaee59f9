//! The encoder: its files, its configuration, its weights.

#[cfg(feature = "hub")]
pub mod hub;
