module hivq/lab/pause

go 1.24
