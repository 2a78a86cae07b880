module selvedge.test/differential

go 1.24.0
