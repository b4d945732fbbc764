//! One file a bug, named for what went wrong.

mod scan_stood_still_before_the_window_end;
