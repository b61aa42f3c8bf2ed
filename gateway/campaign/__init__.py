"""Pure rules of campaigns: no await, no SQL, no clock; columns and `now` in, decisions out."""
