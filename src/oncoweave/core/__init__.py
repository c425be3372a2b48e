"""Words and rules of the project, free of torch: endpoints, errors, files, shelves, state."""
