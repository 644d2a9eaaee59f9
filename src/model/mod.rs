//! The model's side of a dataset. So far its vocabulary: a tokenizer trained on the texts of one, the same to the byte
//! wherever it is trained.

mod tokenizer;
mod unigram;

pub use self::tokenizer::{Part, TokenizerConfig, Trained, train_tokenizer, training_texts};
