//! Memory handed between the generic and the asynchronous proxy.
