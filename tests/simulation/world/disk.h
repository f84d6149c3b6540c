// The disk under an outbox, as a loss of power leaves it: what was written since the last sync of
// the file may be there or not, page by page. LMDB's own system calls pass here, since the
// program's symbols come before libc's.
#pragma once

// The file goes back to what is sure to be on the disk, with any part of what came after it. It is
// not open.
void disk_lose_power(const char *path);
