//! Single faults in each of the catalog's files: it starts, serves nothing wrong, and has lost nothing once it was
//! checked.
