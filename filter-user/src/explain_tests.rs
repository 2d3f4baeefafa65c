//! Questions with their answers.
