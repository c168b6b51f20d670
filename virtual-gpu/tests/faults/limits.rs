//! Launches and operands outside of what is allowed.
