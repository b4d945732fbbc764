//! One file a bug, named for what went wrong.

mod a_line_longer_than_the_window_was_pushed_twice;
mod scan_stood_still_before_the_window_end;
