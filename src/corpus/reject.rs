//! Records that do not make it into the corpus. Nothing is lost: each is kept with its place, a reason and itself.

use std::fmt;

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not of the shape that the format asks for.
    Malformed,
    /// The question has no text.
    QueryEmpty,
    /// The passage has no text.
    PassageEmpty,
    /// Nothing answers the question.
    NoAnswer,
    /// Every answer is the empty string.
    AnswerEmpty,
    /// The answer starts before its context, or at no number.
    AnswerStartInvalid,
    /// The answer starts after the end of its context.
    AnswerOutsideContext,
    /// Another text stands where the answer should.
    AnswerNotAtOffset,
    /// The answer starts in no sentence.
    AnswerNotInOneSentence,
    /// Sentence breaks that overlap, run backwards or leave the context.
    SentenceBreaksInvalid,
    /// An id that an earlier record of the same language bears.
    DuplicateId,
    /// A judgement of a query that is not there, or negatives mined for one.
    UnknownQuery,
    /// A judgement of a passage that is not there, or a mined negative that is not.
    UnknownPassage,
    /// Asked for: the question is marked as having no answer.
    FilterUnanswerable,
    /// Asked for: the language is not on the list.
    FilterLanguage,
    /// Asked for: the question is too short or too long.
    FilterQueryChars,
    /// Asked for: the passage is too short or too long.
    FilterPassageChars,
    /// Asked for: the group stands in too few languages.
    FilterGroupLanguages,
    /// Asked for: the question is one of a corpus that is not to be trained on.
    FilterExcluded,
    /// Asked for: the text is that of another record.
    DuplicateText,
    /// A mined negative that is held out, or the list of a question that is.
    HeldOut,
    /// A part of a word in a lexicon: `un-`, `-heit`.
    Affix,
}

impl Reason {
    const ALL: [Self; 22] = [
        Self::Malformed,
        Self::QueryEmpty,
        Self::PassageEmpty,
        Self::NoAnswer,
        Self::AnswerEmpty,
        Self::AnswerStartInvalid,
        Self::AnswerOutsideContext,
        Self::AnswerNotAtOffset,
        Self::AnswerNotInOneSentence,
        Self::SentenceBreaksInvalid,
        Self::DuplicateId,
        Self::UnknownQuery,
        Self::UnknownPassage,
        Self::FilterUnanswerable,
        Self::FilterLanguage,
        Self::FilterQueryChars,
        Self::FilterPassageChars,
        Self::FilterGroupLanguages,
        Self::FilterExcluded,
        Self::DuplicateText,
        Self::HeldOut,
        Self::Affix,
    ];

    /// The code in `rejects.parquet`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::QueryEmpty => "query_empty",
            Self::PassageEmpty => "passage_empty",
            Self::NoAnswer => "no_answer",
            Self::AnswerEmpty => "answer_empty",
            Self::AnswerStartInvalid => "answer_start_invalid",
            Self::AnswerOutsideContext => "answer_outside_context",
            Self::AnswerNotAtOffset => "answer_not_at_offset",
            Self::AnswerNotInOneSentence => "answer_not_in_one_sentence",
            Self::SentenceBreaksInvalid => "sentence_breaks_invalid",
            Self::DuplicateId => "duplicate_id",
            Self::UnknownQuery => "unknown_query",
            Self::UnknownPassage => "unknown_passage",
            Self::FilterUnanswerable => "filter_unanswerable",
            Self::FilterLanguage => "filter_language",
            Self::FilterQueryChars => "filter_query_chars",
            Self::FilterPassageChars => "filter_passage_chars",
            Self::FilterGroupLanguages => "filter_group_languages",
            Self::FilterExcluded => "filter_excluded",
            Self::DuplicateText => "duplicate_text",
            Self::HeldOut => "held_out",
            Self::Affix => "affix",
        }
    }

    /// Whether the record is bad, rather than one that the pipeline asked to leave out.
    #[must_use]
    pub fn is_bad(self) -> bool {
        self < Self::FilterUnanswerable
    }

    pub(super) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// The file, below the data folder.
    pub source: String,
    /// Line or JSON pointer; for filters and duplicates, the record's id.
    pub place: String,
    pub reason: Reason,
    /// What was found.
    pub detail: String,
    /// The record as it stands in the source.
    pub raw: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_code() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }
}
