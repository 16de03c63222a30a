// KERNEL(name) for each kernel that the host launches.
